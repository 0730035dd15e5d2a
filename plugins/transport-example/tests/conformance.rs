//! The template keeps every clause, and configuration finds it.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;

use http::{StatusCode, Uri};
use leverframe::{
    config::Config,
    registry::Registry,
    testing::{Answer, conformance::transport},
    traits::Transport,
};
use transport_example::{ExampleConfig, ExampleTransport};

/// A folder can answer 200 and 404, and be away; it cannot hang, break off, or send headers.
struct Folder {
    dir: tempfile::TempDir,
    count: usize,
}

impl transport::Peer for Folder {
    fn arrange(&mut self, answer: Answer) -> Option<Uri> {
        self.count += 1;
        let name = self.count.to_string();
        match answer {
            Answer::Whole(StatusCode::OK, headers, body) if headers.is_empty() => {
                fs::write(self.dir.path().join("answers").join(&name), body).unwrap();
            }
            Answer::Whole(StatusCode::NOT_FOUND, ..) => {}
            _ => return None,
        }
        Some(format!("http://folder/{name}").parse().unwrap())
    }

    fn unreachable(&mut self) -> Option<Uri> {
        fs::remove_dir_all(self.dir.path().join("answers")).unwrap();
        Some("http://folder/1".parse().unwrap())
    }
}

fn example() -> transport::Fixture<ExampleTransport> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ExampleConfig::default();
    config.folder = dir.path().join("answers");
    fs::create_dir(&config.folder).unwrap();
    transport::Fixture::new(ExampleTransport::open(config).unwrap(), Folder { dir, count: 0 })
}

leverframe::transport_conformance!(example_transport, example);

#[test]
fn naming_the_crate_registers_it_and_its_example_configures_it() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, transport_example::PLUGIN.example()).unwrap();

    let config = Config::builder().file(file).build().unwrap();

    config.check(&registry).unwrap();
    assert_eq!(registry.find::<dyn Transport>("example").unwrap().origin(), "transport-example");
}

#[test]
fn paths_that_leave_the_folder_name_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "x").unwrap();
    let mut config = ExampleConfig::default();
    config.folder = dir.path().join("answers");
    fs::create_dir(&config.folder).unwrap();
    let transport = ExampleTransport::open(config).unwrap();

    let request = leverframe::traits::Request::get("http://folder/../secret".parse().unwrap());
    let response = leverframe::live::block_on(transport.send(request)).unwrap();

    assert_eq!(response.status, StatusCode::NOT_FOUND);
}
