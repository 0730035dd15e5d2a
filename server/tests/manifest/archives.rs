//! Archives that are none, or that nobody should unpack.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use leverframe::manifest::archive::limits;
use reqwest::Method;

use crate::{
    stage::{CHECKOUT, PAYMENTS, files, packed},
    support::TestServer,
};

/// One entry of a tar, its header made by hand: no packer writes what these tests need.
fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut whole = header.to_vec();
    whole.extend_from_slice(content);
    whole.resize(whole.len().next_multiple_of(512), 0);
    whole
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[entries.concat(), vec![0; 1024]].concat())
}

fn with(hostile: Vec<u8>) -> Vec<u8> {
    tar(&[entry("flags/checkout.toml", b'0', "", CHECKOUT.as_bytes()), hostile])
}

#[tokio::test]
async fn hostile_archives_are_refused_with_what_is_wrong() {
    let server = TestServer::start().await;
    let whole = packed(&files());
    let bomb = gzip(&[entry("flags/a.toml", b'0', "", b"x"), vec![0; 100_000_000]].concat());
    let many: Vec<Vec<u8>> =
        (0..=limits::ALL_FILES).map(|n| entry(&format!("flags/f{n}.toml"), b'0', "", b"")).collect();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("traversal", with(entry("../../etc/passwd", b'0', "", b"x")), 400, "leaves the archive"),
        ("absolute", with(entry("/etc/passwd", b'0', "", b"x")), 400, "absolute"),
        ("symbolic link", with(entry("flags/b.toml", b'2', "/etc/passwd", b"")), 400, "a link"),
        ("hard link", with(entry("flags/b.toml", b'1', "flags/checkout.toml", b"")), 400, "a link"),
        ("device", with(entry("flags/b.toml", b'3', "", b"")), 400, "a device or pipe"),
        ("twice", with(entry("flags/checkout.toml", b'0', "", b"x")), 400, "twice"),
        ("odd character", with(entry("flags/a\nb.toml", b'0', "", b"x")), 400, "character"),
        ("bomb", bomb, 413, "50,000,000"),
        ("too many files", tar(&many), 413, "files"),
        (
            "large file",
            with(entry("flags/b.toml", b'0', "", &vec![b'#'; limits::FILE + 1])),
            413,
            "bytes in a file",
        ),
        ("truncated", whole[..whole.len() / 2].to_vec(), 400, "truncated"),
        ("not gzip", b"PK\x03\x04 a zip".to_vec(), 400, "no gzip header"),
        ("not tar", gzip(&[b'x'; 700]), 400, "damaged"),
        ("empty", Vec::new(), 400, "empty"),
        ("behind its end", [whole, b"more".to_vec()].concat(), 400, ""),
    ];

    for (name, archive, status, part) in cases {
        for (method, path) in [(Method::PUT, "manifest"), (Method::POST, "manifest/lint")] {
            let request = server.upload(method, &format!("{PAYMENTS}/{path}"), &server.root, &archive);
            let answer = server.send(request).await;

            assert_eq!(answer.status.as_u16(), status, "{name} to {path}: {}", answer.text);
            let error = &answer.json()["error"];
            let text = error.to_string();
            assert!(text.contains(part), "{name} to {path}: {text}");
        }
    }
    assert!(server.store.version("acme", "payments", None).await.unwrap().is_none());
}
