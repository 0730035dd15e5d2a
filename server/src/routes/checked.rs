//! Checks that several routes share.

use leverframe::{Error, ErrorKind};

use crate::problem::Problem;

pub(super) fn bad_slug() -> Problem {
    Problem::bad_request(
        "`slug` must begin with a lower-case letter, go on with those, digits and `-`, and have at most 63 of them",
    )
}

/// Checks a text that must say something.
pub(super) fn required(field: &str, value: String, longest: usize) -> Result<String, Problem> {
    if value.trim().is_empty() {
        return Err(Problem::bad_request(format!("`{field}` must not be empty")));
    }
    text(field, value, longest)
}

/// Checks a text for people.
pub(super) fn text(field: &str, value: String, longest: usize) -> Result<String, Problem> {
    if value.chars().count() > longest || value.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "`{field}` must have at most {longest} characters, and no control characters"
        )));
    }
    Ok(value)
}

/// Checks a host name with a dot.
pub(super) fn domain(value: String) -> Result<String, Problem> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if value.len() <= 253 && value.contains('.') && value.split('.').all(is_label) {
        return Ok(value);
    }
    Err(Problem::bad_request("`email_domain` must be a domain in lower case, such as `example.com`"))
}

/// Says of a list that it was asked for with a cursor that no list gave.
pub(super) fn list_error(error: Error) -> Problem {
    if error.kind() == ErrorKind::Invalid {
        return Problem::bad_request("`cursor` must be what an earlier answer gave as `next_cursor`");
    }
    error.into()
}
