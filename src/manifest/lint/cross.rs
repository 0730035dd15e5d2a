//! What only the whole namespace shows: unknown names, clashing types, cycles, depth.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Sources,
    codes::{E005, E008, E010, E024, E025, E034, W001},
    findings::{did_you_mean, listed, whole_file},
    reach::{LARGEST, Reach},
    rules,
};
use crate::manifest::{
    LintDiagnostic,
    archive::limits,
    layout::Layout,
    model::{AttrType, Environment},
    parse::{AttributeUse, DEEPEST, SegmentUse, shown, unify},
};

/// What the passes give back besides findings in files.
pub(in crate::manifest) struct Whole {
    pub(in crate::manifest) diagnostics: Vec<LintDiagnostic>,
    pub(in crate::manifest) attributes: BTreeMap<String, AttrType>,
}

/// Runs the passes; findings go to the files they are about.
pub(in crate::manifest) fn check(
    sources: &mut Sources<'_>,
    roster: Option<&[Environment]>,
    layout: &Layout<'_>,
) -> Whole {
    let attributes = types(sources);
    unknown_segments(sources, layout);
    if let Some(roster) = roster {
        environments(sources, roster);
    }
    let cyclic = cycles(sources);
    depth(sources, &cyclic);
    rules::check(sources);
    let mut diagnostics = unreached(sources);
    diagnostics.extend(too_many_environments(sources, roster));
    Whole { diagnostics, attributes }
}

/// Every flag has a plan for each environment, so their number multiplies what a namespace costs in memory.
fn too_many_environments(sources: &Sources<'_>, roster: Option<&[Environment]>) -> Option<LintDiagnostic> {
    let count = roster.map_or_else(
        || {
            let models = sources.flags.values().filter_map(|source| source.model.as_ref());
            let names: HashSet<&str> =
                models.flat_map(|m| &m.flag.environments).map(|(name, _)| name.as_str()).collect();
            names.len()
        },
        <[Environment]>::len,
    );
    let place = if roster.is_some() { "namespace.toml" } else { "" };
    let message = format!("the namespace has {count} environments, more than {}", limits::ENVIRONMENTS);
    const HELP: &str = "tell people and services apart by attributes of the context, not by environments";
    (count > limits::ENVIRONMENTS).then(|| whole_file(E008, place, message, HELP))
}

/// Infers one type for each attribute (M8), in the order of the files; the first use decides, numbers widen.
fn types(sources: &mut Sources<'_>) -> BTreeMap<String, AttrType> {
    struct Known {
        inferred: AttrType,
        place: String,
    }
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut clashes = Vec::new();
    let mut look = |kind: u8, key: &str, uses: &[AttributeUse]| {
        for (index, used) in uses.iter().enumerate() {
            let Some(entry) = known.get_mut(&used.attribute) else {
                let folder = if kind == 0 { "flags" } else { "segments" };
                let place = format!("{folder}/{key}.toml");
                known.insert(used.attribute.clone(), Known { inferred: used.implied, place });
                continue;
            };
            match unify(entry.inferred, used.implied) {
                Some(unified) => entry.inferred = unified,
                None => {
                    let message = format!(
                        "attribute `{}` is used as {} here, and as {} in {}",
                        shown(&used.attribute),
                        used.implied,
                        entry.inferred,
                        entry.place
                    );
                    clashes.push((kind, key.to_owned(), index, message));
                }
            }
        }
    };
    for (key, source) in &sources.flags {
        look(0, key, source.model.as_ref().map_or(&[], |m| &m.uses.attributes));
    }
    for (key, source) in &sources.segments {
        look(1, key, source.model.as_ref().map_or(&[], |m| &m.uses.attributes));
    }
    const HELP: &str = "an attribute has one type in the whole namespace: mend one of the two";
    for (kind, key, index, message) in clashes {
        if kind == 0
            && let Some(source) = sources.flags.get_mut(key.as_str())
            && let Some(model) = &source.model
        {
            source.file.findings.add_help(E034, model.uses.attributes[index].span.clone(), message, HELP);
        } else if let Some(source) = sources.segments.get_mut(key.as_str())
            && let Some(model) = &source.model
        {
            source.file.findings.add_help(E034, model.uses.attributes[index].span.clone(), message, HELP);
        }
    }
    known.into_iter().map(|(attribute, known)| (attribute, known.inferred)).collect()
}

fn unknown_segments(sources: &mut Sources<'_>, layout: &Layout<'_>) {
    // Also those whose files have errors: one mistake is told once.
    let known: HashSet<&str> = layout.segments.iter().map(|found| found.stem).collect();
    let report = |uses: &[SegmentUse], findings: &mut super::findings::Findings<'_>| {
        for used in uses.iter().filter(|used| !known.contains(used.key.as_str())) {
            if findings.leaves_out(E005) {
                continue;
            }
            let message = format!("{}: unknown segment `{}`", used.subject, shown(&used.key));
            let help = did_you_mean(&used.key, layout.segments.iter().map(|found| found.stem))
                .unwrap_or_else(|| "add the segment's file, or mend the name".to_owned());
            findings.add_help(E005, used.span.clone(), message, help);
        }
    };
    for source in sources.flags.values_mut() {
        if let Some(model) = &source.model {
            report(&model.uses.segments, &mut source.file.findings);
        }
    }
    for source in sources.segments.values_mut() {
        if let Some(model) = &source.model {
            report(&model.uses.segments, &mut source.file.findings);
        }
    }
}

fn environments(sources: &mut Sources<'_>, roster: &[Environment]) {
    let known: Vec<&str> = roster.iter().map(|e| e.name.as_str()).collect();
    for (key, source) in &mut sources.flags {
        let Some(model) = &source.model else { continue };
        for ((name, _), places) in model.flag.environments.iter().zip(&model.places) {
            if !known.contains(&name.as_str()) && !source.file.findings.leaves_out(E010) {
                let message = format!("flag '{key}': environment `{name}` is not declared");
                let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| {
                    format!("declared in namespace.toml: {}", listed(known.iter().copied()))
                });
                source.file.findings.add_help(E010, places.name.clone(), message, help);
            }
        }
    }
}

/// Finds segments that reference each other in a circle, by depth-first search with a stack of its own: a chain of
/// 10,000 segments must not overflow the thread's.
fn cycles(sources: &mut Sources<'_>) -> HashSet<String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let mut marks: HashMap<&str, Mark> = HashMap::new();
    let mut cyclic = HashSet::new();
    let mut found = Vec::new();
    let uses = |key: &str| {
        sources.segments.get(key).and_then(|s| s.model.as_ref()).map_or(&[][..], |m| &m.uses.segments)
    };
    for start in sources.segments.keys() {
        if marks.contains_key(start) {
            continue;
        }
        marks.insert(start, Mark::Open);
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((key, next)) = path.last_mut() {
            let (key, at) = (*key, *next);
            *next += 1;
            let Some(used) = uses(key).get(at) else {
                marks.insert(key, Mark::Done);
                path.pop();
                continue;
            };
            match marks.get(used.key.as_str()) {
                Some(Mark::Done) => {}
                Some(Mark::Open) => {
                    let from = path.iter().position(|(k, _)| *k == used.key).unwrap_or(0);
                    let mut circle: Vec<&str> = path[from..].iter().map(|(k, _)| *k).collect();
                    cyclic.extend(circle.iter().map(|k| (*k).to_owned()));
                    circle.push(&used.key);
                    const SHOWN: usize = 12;
                    let mut words = circle.iter().take(SHOWN).copied().collect::<Vec<_>>().join(" → ");
                    if circle.len() > SHOWN {
                        words.push_str(" → …");
                    }
                    found.push((
                        key.to_owned(),
                        used.span.clone(),
                        format!("segments reference each other in a cycle: {words}"),
                    ));
                }
                None if sources.segments.contains_key(used.key.as_str()) => {
                    marks.insert(&used.key, Mark::Open);
                    path.push((&used.key, 0));
                }
                None => {}
            }
        }
    }
    for (key, span, message) in found {
        if let Some(source) = sources.segments.get_mut(key.as_str()) {
            source.file.findings.add_help(E025, span, message, "take one of the references out");
        }
    }
    cyclic
}

/// Refuses what would take long or deep to evaluate, references followed.
fn depth(sources: &mut Sources<'_>, cyclic: &HashSet<String>) {
    let mut found = Vec::new();
    {
        let mut reach = Reach::new(sources, cyclic);
        for (key, source) in &sources.segments {
            if let Some(model) = &source.model {
                let size = reach.segment(key);
                if size.is_beyond_limits() {
                    found.push((
                        true,
                        (*key).to_owned(),
                        model.span.clone(),
                        format!("segment '{key}'"),
                        size,
                    ));
                }
            }
        }
        for (key, source) in &sources.flags {
            let Some(model) = &source.model else { continue };
            for (places, rules) in model.places.iter().zip(model.rules()) {
                for (index, (span, rule)) in places.rules.iter().zip(rules).enumerate() {
                    let size = reach.audience(&rule.audience);
                    if size.is_beyond_limits() {
                        found.push((
                            false,
                            (*key).to_owned(),
                            span.clone(),
                            format!("flag '{key}' rule[{index}]"),
                            size,
                        ));
                    }
                }
            }
        }
    }
    for (segment, key, span, subject, size) in found {
        let message = if size.depth > DEEPEST as u64 {
            format!(
                "{subject}: predicates nest deeper than {DEEPEST} levels, references to segments included"
            )
        } else {
            format!(
                "{subject}: expands to more than {LARGEST} predicate nodes, references to segments included"
            )
        };
        let file = if segment {
            sources.segments.get_mut(key.as_str()).map(|s| &mut s.file)
        } else {
            sources.flags.get_mut(key.as_str()).map(|s| &mut s.file)
        };
        if let Some(file) = file {
            file.findings.add_help(E024, span, message, "reference fewer segments, or flatten them");
        }
    }
}

fn unreached(sources: &Sources<'_>) -> Vec<LintDiagnostic> {
    let mut reached: HashSet<&str> = HashSet::new();
    let mut pending: Vec<&str> = Vec::new();
    for source in sources.flags.values() {
        match &source.model {
            Some(model) => pending.extend(model.uses.segments.iter().map(|used| used.key.as_str())),
            // A flag that does not parse may reach anything.
            None => return Vec::new(),
        }
    }
    while let Some(key) = pending.pop() {
        if reached.insert(key)
            && let Some(model) = sources.segments.get(key).and_then(|s| s.model.as_ref())
        {
            pending.extend(model.uses.segments.iter().map(|used| used.key.as_str()));
        }
    }
    let lonely = sources.segments.keys().filter(|key| !reached.contains(*key));
    lonely.map(|key| no_rule_reaches(key)).collect()
}

/// Says that no rule reaches a segment.
pub(in crate::manifest) fn no_rule_reaches(key: &str) -> LintDiagnostic {
    let path = format!("segments/{key}.toml");
    whole_file(W001, &path, format!("no rule reaches segment '{key}'"), "use it in a rule, or remove it")
}
