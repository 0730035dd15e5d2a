//! What a reader asks for: the `ns` parameters of its query (S5).

use leverframe::{
    flags::events::FlagFilter,
    manifest::{is_key, is_slug},
};

use crate::problem::Problem;

/// One namespace of a connection, and which of its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The namespace's slug.
    pub namespace: String,
    /// The flags.
    pub filter: FlagFilter,
}

impl Subscription {
    /// Asks for these flags of a namespace.
    #[must_use]
    pub fn new(namespace: impl Into<String>, filter: FlagFilter) -> Self {
        Self { namespace: namespace.into(), filter }
    }

    /// Reads the values of all `ns` parameters of a query; returns them by slug.
    ///
    /// # Errors
    /// `bad_request`, which says what is wrong with which of them.
    pub fn parse_all<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, Problem> {
        let mut all = Vec::new();
        let mut flags = 0;
        for value in values {
            if all.len() == MOST_NAMESPACES {
                return Err(Problem::bad_request(format!(
                    "one connection takes at most {MOST_NAMESPACES} namespaces"
                )));
            }
            let subscription = Self::parse(value)?;
            if let FlagFilter::Only(keys) = &subscription.filter {
                flags += keys.len();
            }
            all.push(subscription);
        }
        if all.is_empty() {
            return Err(Problem::bad_request(
                "say what to read: `?ns=<namespace>` or `?ns=<namespace>:<flag>,…`",
            ));
        }
        if flags > MOST_FLAGS {
            return Err(Problem::bad_request(format!(
                "one connection names at most {MOST_FLAGS} flags; leave them out to read all"
            )));
        }
        all.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        if let Some(pair) = all.windows(2).find(|pair| pair[0].namespace == pair[1].namespace) {
            return Err(Problem::bad_request(format!(
                "namespace `{}` is asked for twice; list its flags in one `ns`",
                pair[0].namespace
            )));
        }
        Ok(all)
    }

    fn parse(value: &str) -> Result<Self, Problem> {
        let (slug, flags) = value.split_once(':').unwrap_or((value, "*"));
        if !is_slug(slug) {
            return Err(Problem::bad_request("`ns` must begin with the slug of a namespace"));
        }
        Ok(Self::new(slug, parse_flags(flags)?))
    }
}

/// Reads a list of flags: `a,b`, or `*` for all.
///
/// # Errors
/// `bad_request` for what no flag can be called, and for too many of them.
pub(crate) fn parse_flags(list: &str) -> Result<FlagFilter, Problem> {
    if list == "*" {
        return Ok(FlagFilter::All);
    }
    // Counted before anything is kept.
    if list.bytes().filter(|byte| *byte == b',').count() >= MOST_FLAGS {
        return Err(Problem::bad_request(format!("at most {MOST_FLAGS} flags can be named")));
    }
    let flags: Vec<&str> = list.split(',').collect();
    if let Some(bad) = flags.iter().find(|flag| !is_key(flag)) {
        let shown: String = bad.chars().filter(|c| !c.is_control()).take(63).collect();
        return Err(Problem::bad_request(format!(
            "`{shown}` is not the key of a flag; use `*` alone to read all flags"
        )));
    }
    Ok(FlagFilter::only(flags))
}

/// Namespaces of one connection.
const MOST_NAMESPACES: usize = 256;

/// Flags of one connection, of all its namespaces together.
const MOST_FLAGS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read_and_come_sorted() {
        let read = Subscription::parse_all(["growth:b,a,b", "billing", "ads:*"]).unwrap();

        assert_eq!(
            read,
            [
                Subscription::new("ads", FlagFilter::All),
                Subscription::new("billing", FlagFilter::All),
                Subscription::new("growth", FlagFilter::only(["a", "b"])),
            ]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let too_many: Vec<String> = (0..257).map(|n| format!("n{n}")).collect();
        let flags = vec!["f"; 2_001].join(",");
        let spread: Vec<String> = (0..3).map(|n| format!("n{n}:{}", vec!["f"; 1_000].join(","))).collect();
        let distinct: Vec<String> = (0..3)
            .map(|n| format!("n{n}:{}", (0..900).map(|f| format!("f{f}")).collect::<Vec<_>>().join(",")))
            .collect();

        for bad in
            [&[][..], &[""], &["Bad"], &["a:"], &["a:b,"], &["a:*,b"], &["a", "a:b"], &["a:b:c"], &["a\n"]]
        {
            assert_eq!(
                Subscription::parse_all(bad.iter().copied()).unwrap_err().code(),
                "bad_request",
                "{bad:?}"
            );
        }
        assert!(Subscription::parse_all(too_many.iter().map(String::as_str)).is_err());
        assert!(Subscription::parse_all(too_many[1..].iter().map(String::as_str)).is_ok());
        assert!(Subscription::parse_all([format!("a:{flags}").as_str()]).is_err());
        assert!(
            Subscription::parse_all(spread.iter().map(String::as_str)).is_ok(),
            "repeated ones count once"
        );
        assert!(Subscription::parse_all(distinct.iter().map(String::as_str)).is_err());
    }
}
