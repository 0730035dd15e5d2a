//! Where a `location` header leads.

use http::Uri;

/// What a reference means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A place of HTTP, without user-info and fragment.
    Http(Uri),
    /// A place of another scheme.
    Foreign,
    /// No place.
    Senseless,
}

/// Reads a reference relative to the URI of the request that it answers, as RFC 3986 (5.2) says.
///
/// User-info in it is dropped: nobody asked for it to be sent.
pub(super) fn resolve(base: &Uri, reference: &[u8]) -> Target {
    let reference = escaped(reference);
    let reference = reference.split('#').next().unwrap_or_default();
    let (Some(scheme), Some(authority)) = (base.scheme_str(), base.authority()) else {
        return Target::Senseless;
    };
    let (scheme, rest) = match scheme_of(reference) {
        Some(own) if own.eq_ignore_ascii_case("http") => ("http", &reference[5..]),
        Some(own) if own.eq_ignore_ascii_case("https") => ("https", &reference[6..]),
        Some(_) => return Target::Foreign,
        None => (scheme, reference),
    };
    let own_scheme = rest.len() != reference.len();
    let (authority, rest) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (authority.rsplit('@').next().unwrap_or_default(), rest)
        }
        None if own_scheme => return Target::Senseless,
        None => return http(scheme, authority.as_str(), &relative(base, rest)),
    };
    http(scheme, authority, rest)
}

fn http(scheme: &str, authority: &str, rest: &str) -> Target {
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/".to_owned() } else { without_dots(path) };
    match format!("{scheme}://{authority}{path}{query}").parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Target::Http(uri),
        _ => Target::Senseless,
    }
}

/// Returns path and query of a reference that names no authority.
fn relative(base: &Uri, reference: &str) -> String {
    let path = base.path();
    if reference.is_empty() {
        return base.path_and_query().map_or_else(|| path.to_owned(), ToString::to_string);
    }
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{path}{reference}");
    }
    let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
    format!("{folder}{reference}")
}

/// Returns what stands before the colon where that is a scheme.
fn scheme_of(reference: &str) -> Option<&str> {
    let (scheme, _) = reference.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain)).then_some(scheme)
}

/// Takes `.` and `..` out of a path.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            ".." => {
                kept.pop();
            }
            "." => {}
            _ => kept.push(segment),
        }
        if last && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Escapes what peers write although a URI may not hold it.
fn escaped(reference: &[u8]) -> String {
    let mut text = String::with_capacity(reference.len());
    for &byte in reference.trim_ascii() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_the_rfc_says() {
        let base: Uri = "http://a/b/c/d;p?q".parse().unwrap();
        for (reference, wanted) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("HTTPS://x:1/y", "https://x:1/y"),
            ("https://u:p@x/y", "https://x/y"),
            ("https://x?y", "https://x/?y"),
            ("/ä b", "http://a/%C3%A4%20b"),
            ("/b:c", "http://a/b:c"),
        ] {
            let wanted = Target::Http(wanted.parse().unwrap());
            assert_eq!(resolve(&base, reference.as_bytes()), wanted, "{reference}");
        }
    }

    #[test]
    fn what_is_no_place_of_http_is_told_apart() {
        let base: Uri = "http://a/".parse().unwrap();
        for foreign in ["file:///etc/passwd", "gopher://x", "javascript:1"] {
            assert_eq!(resolve(&base, foreign.as_bytes()), Target::Foreign, "{foreign}");
        }
        for senseless in ["http:", "http:///x", "https:x", "//", "http://a:b:c/"] {
            assert_eq!(resolve(&base, senseless.as_bytes()), Target::Senseless, "{senseless}");
        }
    }
}
