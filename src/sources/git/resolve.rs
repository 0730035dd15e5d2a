//! What a source remembers of its last load, and what it says of a ref that is not there.

use git2::Oid;

use super::place::{Place, Selector};
use crate::{Error, ErrorKind, document::Revision, manifest::lint::findings::did_you_mean};

/// The commit that was read last, and the name of what was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) commit: Oid,
    pub(super) revision: Revision,
}

/// The ref that a place names is none of `names`.
pub(super) fn missing<'n>(place: &Place, names: impl Iterator<Item = &'n str>) -> Error {
    let mut short: Vec<&str> = names
        .filter_map(|n| n.strip_prefix("refs/heads/").or_else(|| n.strip_prefix("refs/tags/")))
        .collect();
    short.sort_unstable();
    short.dedup();
    let asked = place.selector.to_string();
    let hint = match &place.selector {
        _ if short.is_empty() => "the repository has no branch yet; push a commit to it".to_owned(),
        Selector::Head => {
            "its HEAD leads to a branch that does not exist; name one in the URI, as in `#main`".to_owned()
        }
        _ => did_you_mean(&asked, short.iter().copied())
            .unwrap_or_else(|| "name a branch, a tag or a commit behind `#` in the URI".to_owned()),
    };
    let mut listed = short.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if short.is_empty() {
        "none".clone_into(&mut listed);
    } else if short.len() > LISTED {
        listed.push_str(&format!(" and {} more", short.len() - LISTED));
    }
    Error::new(ErrorKind::NotFound, "find the ref in the repository")
        .with("uri", place)
        .with("asked", asked)
        .with("available", listed)
        .hint(hint)
}

/// As many names as a person reads.
const LISTED: usize = 10;
