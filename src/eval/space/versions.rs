//! Versions at and around the operands of version comparisons.

use super::candidates::Shape;
use crate::eval::Semver;

/// Gives each operand, its near releases, its immediate successor and the least version of all.
///
/// Complete for comparisons: versions between two neighbouring operands answer alike, and if there is one, the
/// immediate successor of the lower operand is one. With `build`, which no operand has, each is also spelled as no
/// test for equality names it. Prefixes and parts are tried on top of that without such a promise, which is why
/// [`Space::inexact`](super::case::Space::inexact) names the attributes that mix both.
pub(super) fn around<'s>(
    operands: impl Iterator<Item = &'s str>,
    shape: &Shape<'_>,
    build: &str,
    push: &mut impl FnMut(String),
) {
    let mut found: Vec<String> = Vec::new();
    for operand in operands.filter(|o| Semver::parse(o).is_some()) {
        found.push(operand.to_owned());
        let (core, pre) = parts(operand);
        let near = |at: usize| {
            let mut core = core;
            core[at] = core[at].checked_add(1)?;
            core[at + 1..].fill(0);
            Some(core)
        };
        found.extend([2, 1, 0].into_iter().filter_map(near).map(release));
        // Nothing lies between a release and the lowest pre-release of the next patch, nor between a pre-release
        // and itself with the identifier `0` after it.
        let next = match pre {
            Some(pre) => Some(format!("{}-{pre}.0", release(core))),
            None => [2, 1, 0].into_iter().find_map(near).map(|core| format!("{}-0", release(core))),
        };
        found.extend(next);
    }
    found.extend(["0.0.0", "0.0.0-0"].map(str::to_owned));
    for version in &found {
        push(version.clone());
    }
    for version in &found {
        // An operand may have metadata of its own already; a version without it is the same version.
        let version = version.split_once('+').map_or(version.as_str(), |(v, _)| v);
        push(format!("{version}+{build}"));
    }
    if !shape.prefix.is_empty() || !shape.parts.is_empty() || !shape.suffix.is_empty() {
        decorate(&found, shape, push);
    }
}

/// Carries wanted text in build metadata, which comparisons ignore, and stretches a wanted prefix to versions.
fn decorate(found: &[String], shape: &Shape<'_>, push: &mut impl FnMut(String)) {
    let mut build = shape.parts.join(".");
    build.push_str(shape.suffix);
    for version in found.iter().flat_map(|v| [v.clone(), format!("v{v}")]) {
        push(version.clone());
        push(format!("{version}+{build}"));
        push(format!("{version}{}", shape.suffix));
    }
    for tail in ["", "0", "1", "9", "0.0", "1.0", "99", "99.0", "999999"] {
        push(format!("{}{tail}", shape.prefix));
        push(format!("{}{tail}+{build}", shape.prefix));
    }
}

fn release(core: [u64; 3]) -> String {
    format!("{}.{}.{}", core[0], core[1], core[2])
}

/// Takes a valid version apart; what is missing is zero.
fn parts(version: &str) -> ([u64; 3], Option<&str>) {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split_once('+').map_or(version, |(head, _)| head);
    let (numbers, pre) = version.split_once('-').map_or((version, None), |(n, p)| (n, Some(p)));
    let mut core = [0; 3];
    for (slot, number) in core.iter_mut().zip(numbers.split('.')) {
        *slot = number.parse().unwrap_or_default();
    }
    (core, pre)
}
