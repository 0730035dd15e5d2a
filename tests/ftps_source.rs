//! The `ftps` source against vsftpd and proftpd.
#![cfg(all(feature = "source-ftps", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/real/mod.rs"]
mod real;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use leverframe::{
    Error, ErrorKind, EvalContext, Leverframe, Result, Retry, UriAuth,
    config::Config,
    document::{Content, Document, Revision},
    live::block_on,
    manifest::archive,
    sources::{
        file::{ReadLimits, read_tree},
        ftps::{FtpsConfig, FtpsSource},
    },
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

#[test]
fn an_unchanged_poll_asks_for_time_and_size_and_nothing_else() {
    let server = Vsftpd::start(Options::default());
    write_old(&server.files().join("m.tar.gz"), b"content", 1);
    let source = open(&server, Options::default());
    let first = whole(&source);
    let before = server.commands().len();

    for _ in 0..2 {
        assert_eq!(load(&source, Some(first.revision())).unwrap(), Load::Unchanged);
    }

    assert_eq!(server.commands()[before..], ["MDTM", "SIZE", "MDTM", "SIZE"]);
}

#[test]
fn proftpd_takes_the_password_and_resumes_for_transfer_after_transfer() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = Proftpd::start(version, "");
        let file = server.files().join("m.tar.gz");
        let auth = UriAuth::Basic { user: proftpd::USER.into(), pass: proftpd::PASS.into() };
        let config = trusting(server.ca_file());
        let source = FtpsSource::open(&server.uri("m.tar.gz"), Some(&auth), config).unwrap();

        // More transfers than a server gives out tickets for one session.
        for round in 0..12_u64 {
            let content_now = vec![round as u8; 100_000];
            write_old(&file, &content_now, round);
            assert_eq!(content(&whole(&source)), content_now, "{version}, transfer {round}");
        }
    }
}

#[test]
fn a_log_in_of_the_uri_is_decoded_and_a_wrong_one_is_unauthenticated() {
    let server = Proftpd::start("TLSv1.2 TLSv1.3", "");
    write_old(&server.files().join("m.tar.gz"), b"content", 1);
    let right = "reader:hunter2-%C3%A4%3A%40%2F%25@";
    let at = |user_info: &str| {
        let uri = server.uri("m.tar.gz").replace("//", &format!("//{user_info}"));
        FtpsSource::open(&uri, None, trusting(server.ca_file())).unwrap()
    };

    assert_eq!(content(&whole(&at(right))), b"content");
    for wrong in ["reader:hunter3@", "stranger:hunter2@", ""] {
        let source = at(wrong);
        let error = load(&source, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{}", error.chain());
        assert_eq!(error.retry_state(), Retry::Never);
        let seen = format!("{} {source:?}", shown(&error));
        assert!(!seen.contains("hunter") && !seen.contains("stranger"), "{seen}");
    }
}

#[test]
fn a_file_that_is_missing_or_not_readable_is_not_found_until_it_is() {
    let server = Vsftpd::start(Options::default());
    let source = open(&server, Options::default());
    let file = server.files().join("m.tar.gz");

    let missing = load(&source, None).unwrap_err();
    write_old(&file, b"content", 1);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = load(&source, None).unwrap_err();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();

    assert_eq!(missing.kind(), ErrorKind::NotFound, "{}", missing.chain());
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{}", refused.chain());
    assert_eq!(content(&whole(&source)), b"content");
    // A clear answer is no reason to connect anew.
    assert_eq!(server.commands().iter().filter(|c| *c == "AUTH").count(), 1);
}

#[test]
fn a_path_with_spaces_in_folders_is_found() {
    let server = Vsftpd::start(Options::default());
    fs::create_dir(server.files().join("a folder")).unwrap();
    write_old(&server.files().join("a folder/m\u{e4}.tar.gz"), b"content", 1);

    for path in ["a%20folder/m%C3%A4.tar.gz", "%2Fa%20folder/m%C3%A4.tar.gz"] {
        let source = FtpsSource::open(&server.uri(path), None, trusting(server.ca_file())).unwrap();
        assert_eq!(content(&whole(&source)), b"content", "{path}");
    }
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_no_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let stranger = Pki::new(dir.path()).ca_file();
    let past = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let expired = Vsftpd::start_with(Options::default(), |pki| pki.leaf("old", &["localhost"], past));
    let elsewhere =
        Vsftpd::start_with(Options::default(), |pki| pki.leaf("other", &["elsewhere.test"], |_| {}));
    let good = Vsftpd::start(Options::default());
    let implicit = Vsftpd::start(IMPLICIT);
    let cases = [
        (&good, stranger.clone(), "auto", "set `source.ftps.ca_file`"),
        (&good, PathBuf::new(), "auto", "set `source.ftps.ca_file`"),
        (&implicit, stranger, "implicit", "set `source.ftps.ca_file`"),
        (&expired, expired.ca_file(), "auto", "renewed"),
        (&elsewhere, elsewhere.ca_file(), "auto", "name the server"),
    ];
    for (server, ca_file, mode, hint) in cases {
        let mut config = trusting(ca_file);
        config.mode = mode.to_owned();
        let source = FtpsSource::open(&server.uri("m.tar.gz"), None, config).unwrap();

        let error = load(&source, None).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        assert_eq!(error.retry_state(), Retry::Never);
        assert!(error.hint_text().unwrap().contains(hint), "{}", shown(&error));
        assert!(!server.log().contains("USER"), "{}", server.log());
    }
}

#[test]
fn a_server_without_tls_is_refused_before_the_log_in() {
    let server = Vsftpd::start(Options { plain: true, ..Options::default() });
    let uri = server.uri("m.tar.gz").replace("//", "//ann:hunter2@");
    let source = FtpsSource::open(&uri, None, trusting(server.ca_file())).unwrap();

    let error = load(&source, None).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    assert_eq!(server.commands(), ["AUTH"]);
    assert!(!shown(&error).contains("hunter2"));
}

#[test]
fn a_server_that_restarts_between_polls_is_not_noticed_and_one_that_is_away_is_unavailable() {
    let mut server = Vsftpd::start(Options::default());
    write_old(&server.files().join("m.tar.gz"), b"content", 1);
    let source = open(&server, Options::default());
    let first = whole(&source);

    server.stop();
    server.go();
    let restarted = load(&source, Some(first.revision())).unwrap();
    server.stop();
    let away = load(&source, Some(first.revision())).unwrap_err();
    server.go();
    let back = load(&source, Some(first.revision())).unwrap();

    assert_eq!(restarted, Load::Unchanged);
    assert_eq!(away.kind(), ErrorKind::Unavailable, "{}", away.chain());
    assert!(away.retry_state().may_retry());
    assert_eq!(back, Load::Unchanged);
}

#[test]
fn authorities_that_cannot_be_read_are_refused_when_the_source_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty.pem"), "").unwrap();
    fs::write(dir.path().join("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();

    for name in ["missing.pem", "empty.pem", "bad.pem"] {
        let opened = FtpsSource::open("ftps://localhost/m", None, trusting(dir.path().join(name)));
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        assert!(error.hint_text().unwrap().contains("source.ftps.ca_file"), "{name}");
    }
}

#[test]
fn configuration_opens_a_namespace_of_an_archive() {
    let server = Vsftpd::start(Options::default());
    let payments = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/namespaces/payments");
    let tree = read_tree(payments.as_ref(), &ReadLimits::default()).unwrap();
    write_old(&server.files().join("payments.tar.gz"), &archive::pack(&tree).unwrap(), 1);
    let config = Config::builder()
        .set("flags.payments.uri", server.uri("payments.tar.gz"))
        .set("flags.payments.environment", "production")
        .set("source.ftps.ca_file", server.ca_file().display().to_string());

    let frame = Leverframe::builder().config(config).build().unwrap();
    let namespace = frame.namespace("payments").unwrap();
    let german = EvalContext::builder().str("user.country", "DE").str("app.version", "4.2.0").build();

    assert_eq!(namespace.slug(), "payments");
    assert!(namespace.eval_bool("new-checkout", "production", &german).is_ok());
    frame.close().unwrap();
}

/// A file on a vsftpd that can be stopped.
struct Served {
    server: Vsftpd,
    count: usize,
}

impl Place for Served {
    fn change(&mut self) {
        self.count += 1;
        // Always as many bytes, mostly within one second: only the content tells them apart.
        let beside = self.server.files().join("new");
        fs::write(&beside, format!("archive {:04}", self.count)).unwrap();
        fs::rename(beside, self.server.files().join("m.tar.gz")).unwrap();
    }

    fn break_it(&mut self) -> bool {
        self.server.stop();
        true
    }

    fn mend(&mut self) {
        self.server.go();
    }

    fn tells(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<&str> {
        Some("hunter2")
    }
}

fn served(options: Options) -> Fixture<FtpsSource> {
    let mut place = Served { server: Vsftpd::start(options), count: 0 };
    place.change();
    let mut config = trusting(place.server.ca_file());
    config.mode = if options.implicit { "implicit" } else { "explicit" }.to_owned();
    let uri = place.server.uri("m.tar.gz").replace("//", "//anonymous:hunter2@");
    Fixture::new(FtpsSource::open(&uri, None, config).unwrap(), place)
}

fn explicit() -> Fixture<FtpsSource> {
    served(Options::default())
}

fn implicit() -> Fixture<FtpsSource> {
    served(IMPLICIT)
}

leverframe::source_conformance!(explicit_tls, explicit);
leverframe::source_conformance!(implicit_tls, implicit);
