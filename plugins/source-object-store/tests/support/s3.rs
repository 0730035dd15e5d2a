//! The S3 server that the tests of a process share.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock},
};

use leverframe::Secret;
use object_store::{ObjectStore, aws::AmazonS3Builder};
use source_object_store::ObjectStoreConfig;

/// Where the server is and who may use it.
pub struct Server {
    pub port: u16,
    pub id: String,
    pub secret: String,
    /// The server ends when its input is closed, which the system does when the process ends, however it does.
    _child: Child,
}

/// Started by the first test that asks.
pub static SERVER: LazyLock<Server> = LazyLock::new(start);

/// Where `.ci/install` puts the server.
const PYTHON: &str = "/opt/moto/bin/python";

fn start() -> Server {
    assert!(
        Path::new(PYTHON).exists(),
        "`{PYTHON}` is missing: the S3 server that the tests need is installed by `.ci/install` (moto, from PyPI)"
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/s3.py");
    let mut child =
        Command::new(PYTHON).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Reading ends when the script does, so this cannot hang on one that failed.
    let line = lines.by_ref().map(Result::unwrap).find(|l| l.split(' ').count() == 3 && !l.contains('*'));
    let line = line.expect("the S3 server did not start; its words are above");
    let mut words = line.split(' ').map(str::to_owned);
    // Whatever else it prints must go somewhere, or it stands still once the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Server {
        port: words.next().unwrap().parse().unwrap(),
        id: words.next().unwrap(),
        secret: words.next().unwrap(),
        _child: child,
    }
}

impl Server {
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Settings with credentials that are right.
    pub fn config(&self) -> ObjectStoreConfig {
        let mut config = self.config_without_credentials();
        config.access_key_id = Secret::new(&self.id);
        config.secret_access_key = Secret::new(&self.secret);
        config
    }

    pub fn config_without_credentials(&self) -> ObjectStoreConfig {
        let mut config = ObjectStoreConfig::default();
        config.endpoint = self.endpoint();
        config.region = "us-east-1".to_owned();
        config
    }

    /// A client of the stores' library, for writing behind the source's back.
    pub fn client(&self) -> Arc<dyn ObjectStore> {
        let builder = AmazonS3Builder::new()
            .with_bucket_name("flags")
            .with_region("us-east-1")
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_access_key_id(&self.id)
            .with_secret_access_key(&self.secret);
        Arc::new(builder.build().unwrap())
    }
}
