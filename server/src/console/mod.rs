//! The console: a page for people, served from the binary.
//!
//! Hand-written HTML, CSS and modules; nothing is built, fetched from elsewhere or stored in the browser. The page has
//! no rights of its own: it asks the API with the token that a person pastes, and the API decides.

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;

use crate::{app::App, problem::Problem, routes::none_match};

mod files;

use self::files::{FILES, INDEX};

/// Scripts, styles, icon and requests of this origin, and nothing else; no script may turn text into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Where the console's files are found; they are no part of the API and not in its document.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().route("/", get(index)).route("/console/{*path}", get(file))
}

async fn index(headers: HeaderMap) -> Response {
    answer(&INDEX, &headers)
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = FILES.iter().find(|file| file.path == path);
    found.map(|file| answer(file, &headers)).ok_or_else(|| Problem::not_found("the console has no such file"))
}

/// A file of the console.
#[derive(Debug)]
struct File {
    path: &'static str,
    media: &'static str,
    content: &'static [u8],
    /// Digest of the content, in quotes: what a browser asks with whether it has the file still.
    etag: LazyLock<HeaderValue>,
}

fn answer(file: &'static File, asked: &HeaderMap) -> Response {
    // A digest in hexadecimal is text.
    let known = file.etag.to_str().is_ok_and(|etag| none_match(asked, etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(file.media))], Bytes::from_static(file.content))
            .into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, file.etag.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What every file goes out with, besides what every answer of the server has.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    // Asked for again each time, and answered with 304: after an update nobody runs half of an older console.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

fn tag_of(content: &[u8]) -> HeaderValue {
    use std::fmt::Write;
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &Sha256::digest(content)[..16] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("hexadecimal digits and quotes are a header's value")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_none_besides() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
        let mut there = BTreeSet::new();
        let mut pending = vec![folder.clone()];
        while let Some(next) = pending.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
                    there.insert(name);
                }
            }
        }

        let served: BTreeSet<String> =
            FILES.iter().chain([&INDEX]).map(|file| file.path.to_owned()).collect();

        assert_eq!(served, there);
    }

    #[test]
    fn whatever_a_module_imports_or_the_page_links_is_served() {
        let served: BTreeSet<&str> = FILES.iter().map(|file| file.path).collect();
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            let text = std::str::from_utf8(file.content).unwrap();
            let imports = text
                .lines()
                .filter(|line| line.starts_with("import "))
                .filter_map(|line| line.split_once(" from \""))
                .map(|(_, rest)| rest.split('"').next().unwrap());
            for import in imports {
                let mut folder: Vec<&str> = file.path.split('/').collect();
                folder.pop();
                for part in import.split('/') {
                    match part {
                        "." => {}
                        ".." => assert!(folder.pop().is_some(), "{}: {import}", file.path),
                        name => folder.push(name),
                    }
                }
                assert!(served.contains(folder.join("/").as_str()), "{}: {import}", file.path);
            }
        }
        let page = std::str::from_utf8(INDEX.content).unwrap();
        for link in page.split("console/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(served.contains(link), "{link}");
        }
    }

    #[test]
    fn the_page_has_nothing_inline_and_no_module_makes_markup_of_text_or_keeps_anything() {
        let page = std::str::from_utf8(INDEX.content).unwrap();
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" on"));
        assert_eq!(page.matches("<script").count(), 1);
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            let text = std::str::from_utf8(file.content).unwrap();
            for never in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
                "localStorage",
                "sessionStorage",
                "indexedDB",
                "document.cookie",
                "console.log",
                "http://",
                "https://",
            ] {
                let found =
                    text.replace("http://www.w3.org/2000/svg", "").replace("https://shop.example.com", "");
                assert!(!found.contains(never), "{} has `{never}`", file.path);
            }
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, INDEX.etag.clone())]);

        let again = answer(&INDEX, &asked);
        let first = answer(&INDEX, &HeaderMap::new());

        assert_eq!((first.status(), again.status()), (StatusCode::OK, StatusCode::NOT_MODIFIED));
        assert_eq!(first.headers()[header::ETAG], again.headers()[header::ETAG]);
        assert_eq!(first.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
    }
}
