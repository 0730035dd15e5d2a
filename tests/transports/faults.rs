//! Peers that break off, lie, or are not there.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use leverframe::{Error, ErrorKind};

use crate::{
    ask::{Make, answer, default, failure, get},
    real::{
        ports::free_port,
        rude::{Manner, Rude},
    },
};

/// Asks a peer of this manner, which must fail.
fn meets(make: Make, manner: Manner) -> Error {
    let rude = Rude::start();
    let uri = rude.arrange(manner);
    failure(&*default(make), get(uri))
}

fn is_unavailable(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(error.retry_state().may_retry(), "trying again is ruled out: {error:?}");
}

pub(crate) fn promised_more_than_sent(make: Make) {
    is_unavailable(&meets(make, Manner::promising(100, b"half of")));
}

/// What stands behind the promised length belongs to no answer.
pub(crate) fn promised_less_than_sent(make: Make) {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::promising(4, b"halfandmore"));

    assert_eq!(answer(&*default(make), get(uri)).body, "half");
}

pub(crate) fn cut_between_chunks(make: Make) {
    is_unavailable(&meets(make, Manner::cut_chunked(b"half of")));
}

pub(crate) fn reset_before_the_head(make: Make) {
    is_unavailable(&meets(make, Manner::SaysAndResets(Vec::new())));
}

pub(crate) fn reset_in_the_body(make: Make) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of";
    is_unavailable(&meets(make, Manner::SaysAndResets(head.to_vec())));
}

pub(crate) fn closed_before_the_head(make: Make) {
    is_unavailable(&meets(make, Manner::Says(Vec::new())));
}

pub(crate) fn two_lengths(make: Make) {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 11\r\n\r\nhalfandmore";
    meets(make, Manner::Says(head.to_vec()));
}

pub(crate) fn no_http_at_all(make: Make) {
    meets(make, Manner::Says(b"220 mail.example.com ESMTP ready\r\n".to_vec()));
}

pub(crate) fn damaged_gzip(make: Make) {
    let mut body = gzip(&[7; 50_000]);
    let middle = body.len() / 2;
    body[middle..].fill(0xff);
    let error = meets(make, Manner::whole(200, &[("content-encoding", "gzip")], &body));

    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable), "{}", error.chain());
}

/// The length is right, and yet the compressed content ends early.
pub(crate) fn cut_gzip(make: Make) {
    let content: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = gzip(&content);

    meets(make, Manner::whole(200, &[("content-encoding", "gzip")], &body[..body.len() / 2]));
}

pub(crate) fn refused_connection(make: Make) {
    let uri = format!("http://127.0.0.1:{}/", free_port());

    is_unavailable(&failure(&*default(make), get(uri)));
}

pub(crate) fn unknown_host(make: Make) {
    is_unavailable(&failure(&*default(make), get("https://no-such-host.invalid/flags")));
}

pub(crate) fn other_schemes(make: Make) {
    let transport = default(make);

    for uri in ["ftp://127.0.0.1/flags", "gopher://127.0.0.1/flags", "file://localhost/etc/hostname"] {
        let error = failure(&*transport, get(uri));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{uri}: {}", error.chain());
        assert!(!error.retry_state().may_retry());
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
