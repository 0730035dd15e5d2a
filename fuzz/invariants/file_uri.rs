//! `file://` URIs.

use leverframe::{ErrorKind, Namespace, sources::file::FileConfig};

/// What is accepted is an absolute path that can be written as a URI again; what is refused is refused without a
/// word of user-info or query.
pub fn file_uri(data: &[u8]) {
    let uri = String::from_utf8_lossy(data);

    match FileConfig::of_uri(&uri) {
        Ok(config) => {
            let path = config.path.to_str().expect("URIs are decoded to text");
            assert!(path.starts_with('/') && !path.contains('\0'), "{path:?}");
            let again = FileConfig::of_uri(&format!("file://{}", escaped(path))).expect("an absolute path");
            assert_eq!(again.path, config.path);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint_text().is_some());
        }
    }
    let planted = planted(&uri);
    if let Err(error) = FileConfig::of_uri(&planted) {
        let told = format!("{} {error:?}", error.chain());
        assert!(!told.contains(SECRET), "{told}");
        let error = Namespace::from_uri(&planted).expect_err("as it was refused above");
        let told = format!("{error} {error:?}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

/// Not a text that a URI holds by chance.
const SECRET: &str = "HUNTER2~HUNTER2";

/// Puts a secret where URIs carry them: before the host, and into the query.
fn planted(uri: &str) -> String {
    let uri = match uri.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://u:{SECRET}@{rest}"),
        None => uri.to_owned(),
    };
    format!("{uri}?token={SECRET}")
}

fn escaped(path: &str) -> String {
    path.bytes()
        .map(|b| {
            let plain = b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_');
            if plain { char::from(b).to_string() } else { format!("%{b:02x}") }
        })
        .collect()
}
