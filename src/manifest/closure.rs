//! The smallest part of a namespace that evaluates some of its flags (M11).

use std::collections::BTreeSet;

use super::model::{Audience, Manifest, Predicate};

/// Returns the paths of `namespace.toml` (where `has_namespace_file`), of the flags named, and of every segment that
/// their rules reach, directly or through other segments. Unknown flags are left out.
///
/// # Examples
/// ```
/// use leverframe::manifest::{Manifest, closure};
/// let paths = closure(&Manifest::new("shop"), ["no-such-flag"], true);
/// assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["namespace.toml"]);
/// ```
#[must_use]
pub fn closure<'a>(
    manifest: &Manifest,
    flags: impl IntoIterator<Item = &'a str>,
    has_namespace_file: bool,
) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    if has_namespace_file {
        paths.insert("namespace.toml".to_owned());
    }
    let mut pending = Vec::new();
    for key in flags {
        let Some(flag) = manifest.flags.get(key) else { continue };
        paths.insert(format!("flags/{key}.toml"));
        let blocks = flag.environments.iter().map(|(_, block)| block).chain([&flag.catch_all]);
        for rule in blocks.filter_map(|block| block.rules.as_ref()).flatten() {
            match &rule.audience {
                Audience::Segment(segment) => pending.push(segment.as_str()),
                Audience::Predicate(predicate) => referenced(predicate, &mut pending),
            }
        }
    }
    while let Some(key) = pending.pop() {
        // A segment that is in already has been followed, so cycles end.
        if let Some(segment) = manifest.segments.get(key)
            && paths.insert(format!("segments/{key}.toml"))
            && let Some(predicate) = &segment.predicate
        {
            referenced(predicate, &mut pending);
        }
    }
    paths
}

/// Adds the segments that a predicate names.
fn referenced<'m>(predicate: &'m Predicate, found: &mut Vec<&'m str>) {
    match predicate {
        Predicate::And(nodes) | Predicate::Or(nodes) => nodes.iter().for_each(|node| referenced(node, found)),
        Predicate::Not(node) => referenced(node, found),
        Predicate::Segment(key) => found.push(key),
        Predicate::Atom(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::{Flag, FlagType, Rule, Segment, Variant};

    fn segment(key: &str, next: &str) -> (String, Segment) {
        let predicate = Some(Predicate::Not(Box::new(Predicate::Segment(next.to_owned()))));
        (key.to_owned(), Segment { key: key.to_owned(), description: String::new(), predicate, bucket: None })
    }

    #[test]
    fn segments_are_followed_through_each_other_and_cycles_end() {
        let mut manifest = Manifest::new("shop");
        let on = Variant { key: "on".to_owned(), value: true.into() };
        for (key, audience) in [("a", "x"), ("b", "z")] {
            let mut flag = Flag::new(key, FlagType::Boolean, vec![on.clone()]).unwrap();
            let audience = Audience::Segment(audience.to_owned());
            flag.catch_all.rules =
                Some(vec![Rule { description: String::new(), audience, variant: "on".to_owned() }]);
            manifest.flags.insert(key.to_owned(), flag);
        }
        manifest.segments = [segment("x", "y"), segment("y", "x"), segment("z", "z")].into();

        let paths = closure(&manifest, ["a"], true);

        let expected = ["flags/a.toml", "namespace.toml", "segments/x.toml", "segments/y.toml"];
        assert_eq!(paths.into_iter().collect::<Vec<_>>(), expected);
    }
}
