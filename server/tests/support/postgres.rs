//! A PostgreSQL server of the tests: started by the first that needs it, stopped when the last is done with it, or when
//! the process ends, however it does.
//!
//! For any test binary of this package: `#[path = "../support/postgres.rs"] mod postgres;`.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use leverframe::Secret;

/// The server that tests of this binary share.
static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// Starts the server, and stops it as soon as it reads the end of its input: whoever holds the other end is gone then.
/// A line on it says how to stop; no output of its own is left to the server, which would keep it open.
const KEEPER: &str = r#"
bin=$1 data=$2; shift 2
"$bin/pg_ctl" -D "$data" -w -t 60 -l "$data/log" -o "$*" start </dev/null >/dev/null 2>&1 || { cat "$data/log" >&2; exit 1; }
echo ready
read -r how
"$bin/pg_ctl" -D "$data" -w -t 60 -m "${how:-immediate}" stop </dev/null >/dev/null 2>&1
"#;

/// A server with its data in a folder of its own, reached through a socket in there.
#[derive(Debug)]
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    options: Vec<String>,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// Returns the server that tests share; none of them may stop it.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server of one's own with further options (`-c name=value`).
    pub(crate) fn start(options: &[&str]) -> Self {
        let server = Self::prepare(options);
        server.run();
        server
    }

    /// Makes a server with its options, which is not started yet.
    pub(crate) fn prepare(options: &[&str]) -> Self {
        let programs = programs();
        let folder =
            tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder for PostgreSQL");
        if let Some((user, group)) = other_user() {
            chown(folder.path(), Some(user), Some(group)).expect("a folder that PostgreSQL owns");
        }
        let data = folder.path().join("data");
        let mut make = as_other_user(&programs.join("initdb"));
        make.args([
            "--no-sync",
            "--no-instructions",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        let made = make.arg("-D").arg(&data).output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut all = vec![format!("-k {}", folder.path().display()), "-c listen_addresses=".to_owned()];
        // Crashes of the server are survived without; those of the machine are no part of the tests.
        all.extend(["-c fsync=off", "-c max_connections=400", "-c shared_buffers=32MB"].map(str::to_owned));
        all.extend(options.iter().map(|&option| option.to_owned()));
        Self { folder, programs, options: all, keeper: Mutex::new(None), databases: AtomicU32::new(0) }
    }

    /// Returns the folder of its data, for configuration before it runs.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file among its data, which only the server may read.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.data().join(name);
        fs::write(&path, content).expect("a file of the server");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of the server");
        if let Some((user, group)) = other_user() {
            chown(&path, Some(user), Some(group)).expect("a file that PostgreSQL owns");
        }
    }

    /// Returns the socket that it is reached through, unless it has another port.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// Runs the server, and returns when it answers.
    pub(crate) fn run(&self) {
        self.run_with(&[]);
    }

    /// Runs the server with options that count more than those it was made with.
    pub(crate) fn run_with(&self, options: &[&str]) {
        let mut keeper = as_other_user(Path::new("/bin/sh"));
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.programs)
            .arg(self.data())
            .args(&self.options)
            .args(options);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("a shell");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("an output that was asked for");
        BufReader::new(output).read_line(&mut line).expect("a line of the keeper");
        assert_eq!(line, "ready\n", "PostgreSQL does not start; what it says is above");
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
    }

    /// Stops the server: `fast` ends its sessions in good order, `immediate` is a crash. Returns when it has stopped.
    pub(crate) fn stop(&self, how: &str) {
        let Some(mut keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut input = keeper.stdin.take().expect("an input that was asked for");
        writeln!(input, "{how}").expect("a keeper that listens");
        drop(input);
        keeper.wait().expect("a keeper that ends");
    }

    /// Makes an empty database; returns its URL.
    pub(crate) async fn database(&self) -> Secret {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> Secret {
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        Secret::new(format!("postgres://postgres@{host}/{database}"))
    }

    /// Runs statements in a database.
    pub(crate) async fn execute(&self, database: &str, script: &str) {
        execute(&self.url(database), script).await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop("immediate");
    }
}

/// Runs statements in the database of a URL.
pub(crate) async fn execute(url: &Secret, script: &str) {
    let config: tokio_postgres::Config = url.expose().parse().expect("a URL of ours");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a server that runs");
    let driver = tokio::spawn(connection);
    client.batch_execute(script).await.expect("statements that run");
    drop(client);
    driver.await.expect("a task that ends").expect("a connection that ends");
}

/// Returns the number that a statement comes to in the database of a URL.
pub(crate) async fn number(url: &Secret, statement: &str) -> i64 {
    let config: tokio_postgres::Config = url.expose().parse().expect("a URL of ours");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a server that runs");
    let driver = tokio::spawn(connection);
    let number = client.query_one(statement, &[]).await.expect("a statement that runs").get(0);
    drop(client);
    driver.await.expect("a task that ends").expect("a connection that ends");
    number
}

/// Returns the folder of the newest version that is installed.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL below /usr/lib/postgresql: `.ci/install` installs it").1
}

/// Returns user and group that the server runs as: it refuses to run as root.
fn other_user() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").expect("a process").uid() == 0;
    root.then(|| {
        let users = fs::read_to_string("/etc/passwd").expect("users");
        let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user `postgres`");
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().expect("a number"));
        (numbers.next().expect("a user's number"), numbers.next().expect("a group's number"))
    })
}

fn as_other_user(program: &Path) -> Command {
    let mut command = match other_user() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([
                format!("--reuid={user}"),
                format!("--regid={group}"),
                "--clear-groups".to_owned(),
            ]);
            command.arg(program);
            command
        }
    };
    // The folder that the tests run in may be closed to that user.
    command.current_dir("/");
    command
}
