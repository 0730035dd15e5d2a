//! The `ftps` source against vsftpd and proftpd.
#![cfg(all(feature = "source-ftps", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/real/mod.rs"]
mod real;

use std::{fs, path::PathBuf};

use leverframe::{
    Error, ErrorKind, Result, Retry, UriAuth,
    document::{Content, Document, Revision},
    live::block_on,
    sources::ftps::{FtpsConfig, FtpsSource},
    testing::conformance::source::{Fixture, Place},
    traits::{Load, Source},
};
use real::{
    certs::Pki,
    proftpd::{self, Proftpd},
    vsftpd::{Options, Vsftpd, write_old},
};

const IMPLICIT: Options = Options { implicit: true, tls12: false, plain: false };

fn trusting(ca_file: PathBuf) -> FtpsConfig {
    let mut config = FtpsConfig::default();
    config.ca_file = ca_file;
    config
}

fn open(server: &Vsftpd, options: Options) -> FtpsSource {
    let mut config = trusting(server.ca_file());
    config.mode = if options.implicit { "implicit" } else { "auto" }.to_owned();
    FtpsSource::open(&server.uri("m.tar.gz"), None, config).unwrap()
}

fn load(source: &FtpsSource, since: Option<&Revision>) -> Result<Load> {
    block_on(source.load(since))
}

fn whole(source: &FtpsSource) -> Document {
    match load(source, None) {
        Ok(Load::Snapshot(document)) => document,
        Ok(other) => panic!("{other:?}"),
        Err(error) => panic!("{} hint: {:?}", error.chain(), error.hint_text()),
    }
}

fn content(document: &Document) -> &[u8] {
    match document.content() {
        Content::Bytes(bytes) => bytes,
        Content::Tree(_) => panic!("a tree"),
    }
}

fn shown(error: &Error) -> String {
    format!("{} {error:?} {:?}", error.chain(), error.hint_text())
}

/// Loads, polls and follows a change; every data connection resumes, or vsftpd would refuse it.
fn follows_a_file(options: Options) -> Vsftpd {
    let server = Vsftpd::start(options);
    let archive: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    write_old(&server.files().join("m.tar.gz"), &archive, 1);
    let source = open(&server, options);

    let first = whole(&source);
    let again = load(&source, Some(first.revision())).unwrap();
    write_old(&server.files().join("m.tar.gz"), b"second", 2);
    let changed = load(&source, Some(first.revision())).unwrap();

    assert_eq!(content(&first), archive);
    assert_eq!(first.name(), Some("m.tar.gz"));
    assert_eq!(again, Load::Unchanged);
    assert!(matches!(&changed, Load::Snapshot(d) if content(d) == b"second"), "{changed:?}");
    server
}

#[test]
fn explicit_tls_loads_polls_and_follows_a_change() {
    let server = follows_a_file(Options::default());

    let log = server.log();
    assert!(log.contains("TLSv1.3") && log.contains(", reused"), "{log}");
}

#[test]
fn implicit_tls_loads_polls_and_follows_a_change() {
    follows_a_file(IMPLICIT);
}

#[test]
fn tls_1_2_loads_polls_and_follows_a_change() {
    for implicit in [false, true] {
        let server = follows_a_file(Options { implicit, tls12: true, plain: false });

        let log = server.log();
        assert!(log.contains("TLSv1.2") && !log.contains("TLSv1.3"), "{log}");
    }
}
