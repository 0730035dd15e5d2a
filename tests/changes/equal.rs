//! Random namespaces, sound and broken, changed at random: after each step everything must be as if the whole had been
//! checked and compiled.

use leverframe::{
    EvalContext, EvalOptions,
    document::{Delta, Entry, Revision, Tree},
    eval::Program,
    manifest::{Fingerprint, LintOptions, Manifest, Workspace, lint_tree},
};
use proptest::prelude::*;

use crate::feed::{Versions, open, options};

const FLAGS: [&str; 5] = ["a", "a-b", "b", "c", "d"];
const SEGMENTS: [&str; 4] = ["s", "s-t", "t", "u"];
const ATTRIBUTES: [&str; 3] = ["x", "y", "z"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];

fn predicate() -> impl Strategy<Value = String> {
    let attribute = prop::sample::select(&ATTRIBUTES[..]);
    let test = prop_oneof![
        4 => Just(r#"op = "eq", value = "v""#),
        1 => Just(r#"op = "gt", value = 3"#),
        1 => Just(r#"op = "lte", value = 2.5"#),
        1 => Just(r#"op = "eq", value = true"#),
        2 => Just(r#"op = "in", values = ["v", "w"]"#),
        2 => Just(r#"op = "is_set""#),
    ];
    let atom =
        (attribute, test).prop_map(|(attribute, test)| format!("{{ attribute = \"{attribute}\", {test} }}"));
    let segment = prop::sample::select(&SEGMENTS[..]).prop_map(|key| format!("{{ segment = \"{key}\" }}"));
    let leaf = prop_oneof![3 => atom, 2 => segment];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|nodes| format!("{{ and = [{}] }}", nodes.join(", "))),
            prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|nodes| format!("{{ or = [{}] }}", nodes.join(", "))),
            inner.prop_map(|node| format!("{{ not = {node} }}")),
        ]
    })
}

fn rule() -> impl Strategy<Value = String> {
    let audience = prop_oneof![
        prop::sample::select(&SEGMENTS[..]).prop_map(|key| format!("segment = \"{key}\"")),
        predicate().prop_map(|predicate| format!("predicate = {predicate}")),
    ];
    (audience, prop_oneof![20 => Just("on"), 10 => Just("off"), 1 => Just("onn")])
        .prop_map(|(audience, variant)| format!("{{ {audience}, variant = \"{variant}\" }}"))
}

fn block() -> impl Strategy<Value = String> {
    let rules = prop::collection::vec(rule(), 0..3);
    (any::<bool>(), prop::option::of(rules), prop::bool::weighted(0.2)).prop_map(|(on, rules, testing)| {
        let variant = if on { "on" } else { "off" };
        let rules = rules.map_or(String::new(), |rules| format!("rules = [{}]\n", rules.join(", ")));
        let testing = if testing { "testing = true\n" } else { "" };
        format!("variant = \"{variant}\"\n{rules}{testing}")
    })
}

fn flag() -> impl Strategy<Value = String> {
    let blocks = prop::collection::btree_map(prop::sample::select(&ENVIRONMENTS[..]), block(), 0..2);
    let sound = (block(), blocks, any::<bool>()).prop_map(|(catch_all, blocks, described)| {
        let catch_all = catch_all.replace("testing = true\n", "");
        let description = if described { "description = \"d\"\n" } else { "" };
        let blocks: String =
            blocks.into_iter().map(|(name, block)| format!("[flag.environments.{name}]\n{block}")).collect();
        format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n{description}[flag.variants]\non = true\noff = false\n\
             [flag.environments._]\n{catch_all}{blocks}"
        )
    });
    prop_oneof![30 => sound, 1 => Just("[flag".to_owned()), 1 => Just("schema_version = \"0.1\"\n".to_owned())]
}

fn segment() -> impl Strategy<Value = String> {
    let bucket = (0u16..5_000, 5_000u16..10_000, prop::option::of(Just("salt = \"one\"\n"))).prop_map(
        |(start, end, salt)| {
            let salt = salt.unwrap_or_default();
            format!("[segment.bucket]\nentity_id_attribute = \"x\"\n{salt}start = {start}\nend = {end}\n")
        },
    );
    let sound = (prop::option::weighted(0.8, predicate()), prop::option::weighted(0.5, bucket)).prop_map(
        |(predicate, bucket)| {
            let predicate = predicate.map_or(String::new(), |predicate| format!("predicate = {predicate}\n"));
            format!("schema_version = \"0.1\"\n[segment]\n{predicate}{}", bucket.unwrap_or_default())
        },
    );
    prop_oneof![20 => sound, 1 => Just("schema_version = 1".to_owned())]
}

/// A path and what comes to stand there; nothing where the file goes.
fn edit() -> impl Strategy<Value = (String, Option<Entry>)> {
    let file = |text: String| Entry::File(text.into());
    let flags = (prop::sample::select(&FLAGS[..]), prop::option::weighted(0.8, flag()))
        .prop_map(move |(key, text)| (format!("flags/{key}.toml"), text.map(file)));
    let segments = (prop::sample::select(&SEGMENTS[..]), prop::option::weighted(0.8, segment()))
        .prop_map(move |(key, text)| (format!("segments/{key}.toml"), text.map(file)));
    let roster = prop::option::of(prop::sample::subsequence(&ENVIRONMENTS[..], 1..=3));
    let namespace = prop::option::of(roster).prop_map(move |declared| {
        let text = declared.map(|roster| {
            let roster = roster.map_or(String::new(), |names| {
                names.iter().map(|name| format!("[namespace.environments.{name}]\n")).collect()
            });
            format!("schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n{roster}")
        });
        ("namespace.toml".to_owned(), text.map(file))
    });
    let odd = prop::sample::select(
        &[".exdignore", "README.md", "flags/Bad.toml", "flags/sub/e.toml", "flags/a.md", "leverframe.sig"][..],
    );
    let odd = (odd, prop::bool::ANY)
        .prop_map(move |(path, there)| (path.to_owned(), there.then(|| file("flags/b.toml\n".to_owned()))));
    prop_oneof![60 => flags, 25 => segments, 3 => namespace, 2 => odd]
}

/// Steps of edits. The first fills the namespace, with segments that name nobody.
fn steps() -> impl Strategy<Value = Vec<Vec<(String, Option<Entry>)>>> {
    let steps = prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..14);
    steps.prop_map(|mut steps| {
        let segment = "schema_version = \"0.1\"\n[segment]\npredicate = { attribute = \"x\", op = \"eq\", value = \"v\" }\n";
        let first = SEGMENTS.iter().map(|key| (format!("segments/{key}.toml"), segment));
        let flag = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
                    [flag.environments._]\nvariant = \"on\"\n[flag.environments.production]\nvariant = \"off\"\n";
        let first = first.chain([("flags/a.toml".to_owned(), flag), ("flags/zz.toml".to_owned(), flag)]);
        steps.insert(0, first.map(|(path, text)| (path, Some(Entry::File(text.into())))).collect());
        steps
    })
}

fn changed(mut tree: Tree, edits: &[(String, Option<Entry>)]) -> Tree {
    for (path, entry) in edits {
        match entry {
            Some(entry) => tree.insert(path.as_str(), entry.clone()),
            None => drop(tree.remove(path)),
        }
    }
    tree
}

fn contexts() -> Vec<EvalContext> {
    vec![
        EvalContext::new(),
        EvalContext::builder().str("x", "v").str("y", "w").build(),
        EvalContext::builder().str("x", "someone").int("y", 2).int("z", 5).build(),
        EvalContext::builder().float("x", 2.0).bool("y", true).str("z", "v").build(),
    ]
}

/// Everything that evaluation says of every flag, in words.
fn behaviour(program: &Program) -> Vec<String> {
    let mut all = vec![format!("{:?}", program.flags().collect::<Vec<_>>())];
    for key in FLAGS.iter().chain(&["zz"]) {
        for environment in ENVIRONMENTS.iter().chain(&["other"]) {
            for context in contexts() {
                for testing in [false, true] {
                    let options = EvalOptions::new().with_include_testing(testing);
                    let trace =
                        program.trace(key, environment, &context, &options).map(|trace| trace.to_string());
                    let result = program.evaluate(key, environment, &context, &options);
                    all.push(format!("{key} {environment}: {result:?}\n{trace:?}"));
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_workspace_says_after_each_change_what_the_check_of_the_whole_says(steps in steps()) {
        let options = LintOptions::new().with_slug("shop");
        let mut tree = changed(Tree::new(), &steps[0]);
        let mut workspace = Workspace::new(tree.clone(), &options).unwrap();
        for edits in &steps[1..] {
            let base = workspace.tree();
            tree = changed(tree, edits);
            let linted = lint_tree(&tree, &options);

            let mut delta = Delta::new(Revision::new("1"), Revision::new("2"));
            for (path, _) in base.iter().filter(|(path, _)| tree.get(path).is_none()) {
                delta = delta.removing(path);
            }
            for (path, _) in tree.iter().filter(|(path, entry)| base.get(path) != Some(*entry)) {
                delta = delta.changing(path, tree.file(path).unwrap().clone());
            }
            let before = (workspace.report(), workspace.fingerprint().clone());

            match workspace.apply(&delta) {
                Ok(next) => {
                    prop_assert_eq!((workspace.report(), workspace.fingerprint().clone()), before);
                    prop_assert_eq!(next.report(), linted.report);
                    prop_assert_eq!(Some(next.manifest()), linted.manifest);
                    prop_assert_eq!(next.fingerprint(), &Fingerprint::of(&tree));
                    prop_assert_eq!(next.tree(), tree.clone());
                    workspace = next;
                }
                Err(report) => {
                    prop_assert!(linted.manifest.is_none());
                    prop_assert_eq!(report, linted.report);
                }
            }
        }
    }

    #[test]
    fn what_is_served_after_each_change_behaves_like_what_is_compiled_from_the_whole(steps in steps()) {
        let mut tree = changed(Tree::new(), &steps[0]);
        let source = Versions::of(tree.clone());
        let namespace = open(&source, &options().with_slug("shop"));
        for edits in &steps[1..] {
            tree = changed(tree, edits);
            source.set(tree.clone());
            let linted = lint_tree(&tree, &LintOptions::new().with_slug("shop"));

            let polled = namespace.poll();

            prop_assert_eq!(polled.is_ok(), linted.manifest.is_some());
            let Some(manifest) = linted.manifest else { continue };
            let whole = Program::compile(&manifest);
            let loaded = namespace.snapshot();
            prop_assert_eq!(behaviour(&loaded.snapshot.program), behaviour(&whole));
            prop_assert_eq!(&loaded.snapshot.fingerprint, &Fingerprint::of(&tree));
            prop_assert_eq!(&loaded.snapshot.meta.environments, &Manifest::clone(&manifest).environments);
        }
    }
}
