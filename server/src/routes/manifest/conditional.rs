//! Conditional requests (RFC 9110, section 13) as far as versions need them.

use http::{HeaderMap, HeaderName, header};

/// Returns the entity tag of a version.
pub(crate) fn etag(version: u64) -> String {
    format!("\"v{version}\"")
}

/// Returns true if `If-None-Match` names this entity tag, or any at all: the client has what it would get.
///
/// Tags are compared weakly, as section 13.1.2 asks. What is no list of tags matches nothing, so that its sender
/// gets the whole answer.
pub(crate) fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.trim() == "*" || tags(list).is_some_and(|tags| tags.contains(&etag.trim_start_matches("W/")))
    })
}

/// Reads a header that holds one number.
///
/// # Errors
/// A message for people, where the header is there and holds anything else.
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text =
        value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match (text.and_then(|text| text.parse().ok()), values.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => Err(format!("`{name}` has to be one version number, such as `8`, or `0` for a first upload")),
    }
}

/// Splits a list of entity tags, weak marks taken off; quotes may hold commas.
fn tags(list: &str) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    let mut rest = list.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let quoted = rest.strip_prefix("W/").unwrap_or(rest);
        let end = quoted.strip_prefix('"')?.find('"')? + 2;
        tags.push(&quoted[..end]);
        let behind = quoted[end..].trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(',') {
            return None;
        }
        rest = behind.trim_start_matches([' ', '\t', ',']);
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sent(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn lists_stars_and_weak_tags_match() {
        let matching: [&[&str]; 8] = [
            &["\"v8\""],
            &["W/\"v8\""],
            &["*"],
            &[" * "],
            &["\"v7\", \"v8\""],
            &["\"v7\",W/\"v8\" "],
            &["\"a,b\" , \"v8\""],
            &["\"v7\"", "\"v8\""],
        ];
        for values in matching {
            assert!(none_match(&sent(&header::IF_NONE_MATCH, values), "\"v8\""), "{values:?}");
        }
    }

    #[test]
    fn what_is_another_tag_or_none_does_not_match() {
        let others: [&[&str]; 9] = [
            &[],
            &[""],
            &["\"v7\""],
            &["v8"],
            &["\"v8"],
            &["w/\"v8\""],
            &["\"v8\" \"v9\""],
            &["\"v8\"x"],
            &["\"v7, \"v8\""],
        ];
        for values in others {
            assert!(!none_match(&sent(&header::IF_NONE_MATCH, values), "\"v8\""), "{values:?}");
        }
    }

    #[test]
    fn a_number_is_digits_and_one_of_them() {
        let name = HeaderName::from_static("if-version");

        assert_eq!(number(&sent(&name, &[]), &name), Ok(None));
        assert_eq!(number(&sent(&name, &["0"]), &name), Ok(Some(0)));
        assert_eq!(number(&sent(&name, &["18446744073709551615"]), &name), Ok(Some(u64::MAX)));
        let bad: [&[&str]; 6] = [&[""], &["+1"], &["v1"], &["1.0"], &["18446744073709551616"], &["1", "1"]];
        for values in bad {
            assert!(number(&sent(&name, values), &name).is_err(), "{values:?}");
        }
    }
}
