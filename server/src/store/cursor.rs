//! Where the next part of a list begins: the last key of the part before, opaque to whoever hands it back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use leverframe::{Error, ErrorKind, Result};

use crate::model::{Page, PageRequest};

/// More than the longest key: a tenant, a namespace and an environment.
const LONGEST: usize = 512;
/// The largest part of a list that is given at once.
const LARGEST_PAGE: usize = 500;

/// A list, so that a cursor of one is not taken for that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Audit,
    GateKeys,
    GateOrgs,
    Namespaces,
    SettingsKeys,
    SettingsServices,
    SettingsTrusting,
    Tenants,
    Tokens,
    Versions,
}

impl List {
    const fn letter(self) -> char {
        match self {
            Self::Audit => 'a',
            Self::GateKeys => 'g',
            Self::GateOrgs => 'o',
            Self::Namespaces => 'n',
            Self::SettingsKeys => 'e',
            Self::SettingsServices => 's',
            Self::SettingsTrusting => 'i',
            Self::Tenants => 't',
            Self::Tokens => 'k',
            Self::Versions => 'v',
        }
    }

    /// Returns the key behind which the part begins.
    pub(super) fn start(self, page: &PageRequest) -> Result<Option<String>> {
        page.after.as_deref().map(|cursor| self.key(cursor).ok_or_else(malformed)).transpose()
    }

    /// Returns the number behind which the part begins.
    pub(super) fn start_number(self, page: &PageRequest) -> Result<Option<i64>> {
        let key = self.start(page)?;
        key.map(|key| key.parse().ok().filter(|number| *number >= 0).ok_or_else(malformed)).transpose()
    }

    /// Returns the pair of slugs behind which the part begins.
    pub(super) fn start_pair(self, page: &PageRequest) -> Result<Option<(String, String)>> {
        let key = self.start(page)?;
        let pair = |key: String| {
            let (first, second) = key.split_once('/').ok_or_else(malformed)?;
            Ok((first.to_owned(), second.to_owned()))
        };
        key.map(pair).transpose()
    }

    /// Returns tenant, namespace and environment behind which the part begins.
    pub(super) fn start_triple(self, page: &PageRequest) -> Result<Option<[String; 3]>> {
        let triple = |(first, rest): (String, String)| {
            let (second, third) = rest.split_once('/').ok_or_else(malformed)?;
            Ok([first, second.to_owned(), third.to_owned()])
        };
        self.start_pair(page)?.map(triple).transpose()
    }

    /// Makes a part of at most as many items as asked for, of one more if there are so many.
    pub(super) fn page<T>(
        self,
        page: &PageRequest,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Page<T> {
        let limit = limit(page);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| self.cursor(&key(last)));
        Page { items, next }
    }

    fn cursor(self, key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{key}", self.letter()))
    }

    fn key(self, cursor: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(cursor).filter(|cursor| cursor.len() <= LONGEST)?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let key = text.strip_prefix(self.letter())?.strip_prefix(':')?;
        (!key.is_empty() && !key.contains('\0')).then(|| key.to_owned())
    }
}

/// How many rows to read for this part: one more than it has, to know whether another follows.
pub(super) fn rows(page: &PageRequest) -> i64 {
    i64::try_from(limit(page) + 1).unwrap_or(i64::MAX)
}

fn limit(page: &PageRequest) -> usize {
    page.limit.clamp(1, LARGEST_PAGE)
}

fn malformed() -> Error {
    Error::new(ErrorKind::Invalid, "continue a list")
        .with("reason", "the cursor is not one that this list gave")
        .hint("pass on `next_cursor` as it was received, or none to begin at the start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_key_it_was_made_of_and_only_in_its_own_list() {
        let cursor = List::Tenants.cursor("acme");

        let page = PageRequest::after(5, cursor);

        assert_eq!(List::Tenants.start(&page).unwrap().as_deref(), Some("acme"));
        assert_eq!(List::Tokens.start(&page).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn malformed_cursors_are_invalid() {
        let long = "A".repeat(LONGEST + 1);
        for cursor in ["", "=", "acme", "dDo", "dA", "dDo\u{e4}", "dDoA", "/w", &long] {
            let error = List::Tenants.start(&PageRequest::after(5, cursor)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{cursor}");
        }
        for key in ["-1", "x", "99999999999999999999"] {
            let page = PageRequest::after(5, List::Audit.cursor(key));
            assert_eq!(List::Audit.start_number(&page).unwrap_err().kind(), ErrorKind::Invalid, "{key}");
        }
        let page = PageRequest::after(5, List::Namespaces.cursor("acme"));
        assert_eq!(List::Namespaces.start_pair(&page).unwrap_err().kind(), ErrorKind::Invalid);
        let page = PageRequest::after(5, List::SettingsServices.cursor("acme/payments"));
        assert_eq!(List::SettingsServices.start_triple(&page).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_page_has_a_next_one_only_if_there_is_more() {
        let request = PageRequest::first(2);

        let whole = List::Tenants.page(&request, vec![1, 2], ToString::to_string);
        let part = List::Tenants.page(&request, vec![1, 2, 3], ToString::to_string);

        assert_eq!((whole.items, whole.next), (vec![1, 2], None));
        assert_eq!(part.items, [1, 2]);
        assert_eq!(part.next, Some(List::Tenants.cursor("2")));
        assert_eq!(rows(&PageRequest::first(0)), 2);
        assert_eq!(rows(&PageRequest::first(10_000)), 501);
    }
}
