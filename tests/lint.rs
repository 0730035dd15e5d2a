//! Lint over the fixtures of every code, and over random files.
//!
//! `tests/lint/fixtures/<CODE>/fail` has the code, `pass` is its twin that has not; `expect.txt` says where.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use leverframe::{
    EvalContext, LintDiagnostic, LintReport, Namespace, RuleMatched, Severity,
    document::{Entry, Tree},
    lint_dir,
    manifest::{LintOptions, archive, lint::CODES, lint_tree},
    sources::file::{ReadLimits, read_tree},
};
use proptest::prelude::*;

/// The codes whose trees are made by a test: git keeps no link as it is, and ten thousand files are too many.
const MADE_BY_TESTS: [&str; 2] = ["E008", "E018"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint/fixtures")
}

fn lint(directory: &Path) -> LintReport {
    lint_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
}

fn lint_files(files: &[(&str, &str)]) -> Vec<LintDiagnostic> {
    let tree: Tree = files
        .iter()
        .map(|(path, text)| (*path, Entry::File(Bytes::from(format!("schema_version = \"0.1\"\n{text}")))))
        .fold(Tree::new(), |mut tree, (path, entry)| {
            tree.insert(path, entry);
            tree
        });
    lint_tree(&tree, &LintOptions::new().with_slug("shop")).report.diagnostics
}

fn only<'d>(found: &'d [LintDiagnostic], code: &str) -> &'d LintDiagnostic {
    let mut with_code = found.iter().filter(|d| d.code == code);
    let first = with_code.next().unwrap_or_else(|| panic!("no {code} in {found:#?}"));
    assert!(with_code.next().is_none(), "{code} more than once in {found:#?}");
    first
}

/// A boolean flag with these lines behind its variants.
fn flag(rest: &str) -> String {
    format!("[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n{rest}")
}

#[test]
fn every_code_has_a_tree_with_it_and_one_without_and_no_other_tree_is_there() {
    let listed: BTreeSet<&str> = CODES.iter().map(|info| info.code).collect();
    let mut there: BTreeSet<String> = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for code in MADE_BY_TESTS {
        assert!(there.insert(code.to_owned()), "{code} has a fixture after all");
    }

    assert_eq!(there, listed.into_iter().map(str::to_owned).collect());
}

#[test]
fn every_failing_fixture_has_its_code_where_it_says_and_its_twin_has_not() {
    for info in CODES.iter().filter(|info| !MADE_BY_TESTS.contains(&info.code)) {
        let folder = fixtures().join(info.code);
        let expected = fs::read_to_string(folder.join("expect.txt")).unwrap();

        let found: Vec<String> = lint(&folder.join("fail/shop"))
            .diagnostics
            .iter()
            .filter(|d| d.code == info.code)
            .map(|d| {
                assert_eq!(d.severity, info.severity, "{d}");
                assert!(!d.message.is_empty());
                let file = match d.file.to_str().unwrap() {
                    "" => "-",
                    file => file,
                };
                format!("{} {file} {} {}", d.code, d.line, d.column)
            })
            .collect();
        assert_eq!(found, expected.lines().collect::<Vec<_>>(), "{}", info.code);

        let twin = lint(&folder.join("pass/shop"));
        assert!(twin.passed(), "{}: {:#?}", info.code, twin.diagnostics);
        assert!(twin.diagnostics.iter().all(|d| d.code != info.code), "{}", info.code);
    }
}

#[test]
fn the_failing_fixture_of_an_error_is_refused_and_that_of_a_warning_or_info_is_accepted() {
    for info in CODES.iter().filter(|info| !MADE_BY_TESTS.contains(&info.code)) {
        let directory = fixtures().join(info.code).join("fail/shop");
        let tree = read_tree(&directory, &ReadLimits::default()).unwrap();

        let linted = lint_tree(&tree, &LintOptions::new().with_directory("shop"));

        assert_eq!(linted.manifest.is_none(), info.severity == Severity::Error, "{}", info.code);
        assert_eq!(linted.report.has_errors(), info.severity == Severity::Error, "{}", info.code);
    }
}

#[test]
fn a_file_over_the_limit_is_e008_and_one_at_the_limit_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("shop");
    fs::create_dir_all(root.join("flags")).unwrap();
    let head = format!("schema_version = \"0.1\"\n{}#", flag("[flag.environments._]\nvariant = \"on\"\n"));
    let sized = |bytes: usize| format!("{head}{}", "x".repeat(bytes - head.len()));
    let path = root.join("flags/banner.toml");

    fs::write(&path, sized(archive::limits::FILE)).unwrap();
    assert!(lint(&root).passed());

    fs::write(&path, sized(archive::limits::FILE + 1)).unwrap();
    let report = lint(&root);
    let found = only(&report.diagnostics, "E008");
    assert_eq!((found.file.as_path(), found.line), (Path::new("flags/banner.toml"), 1));
    assert!(found.message.contains("1048577"), "{found}");
}

#[test]
fn more_files_than_the_limit_are_e008_of_the_namespace() {
    let mut tree = Tree::new();
    let text = format!("schema_version = \"0.1\"\n{}", flag("[flag.environments._]\nvariant = \"on\"\n"));
    let content = Bytes::from(text);
    for i in 0..archive::limits::FILES {
        tree.insert(format!("flags/f{i}.toml"), Entry::File(content.clone()));
    }
    let options = LintOptions::new().with_slug("shop");
    assert!(lint_tree(&tree, &options).report.passed());

    tree.insert("flags/one-more.toml", Entry::File(content));
    let linted = lint_tree(&tree, &options);
    assert_eq!(only(&linted.report.diagnostics, "E008").severity, Severity::Error);
    assert!(linted.manifest.is_none());
}

#[cfg(unix)]
#[test]
fn a_link_is_e018_wherever_it_points_and_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("shop");
    fs::create_dir_all(root.join("flags")).unwrap();
    fs::write(
        root.join("flags/a.toml"),
        format!("schema_version = \"0.1\"\n{}", flag("[flag.environments._]\nvariant = \"on\"\n")),
    )
    .unwrap();
    assert!(lint(&root).passed());

    for target in ["a.toml", "/etc/passwd", "nowhere", "..", "."] {
        let link = root.join("flags/link.toml");
        std::os::unix::fs::symlink(target, &link).unwrap();

        let report = lint(&root);

        let found = only(&report.diagnostics, "E018");
        assert_eq!(found.file, Path::new("flags/link.toml"), "{target}");
        assert_eq!(report.flags, 1, "{target}");
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn diagnostics_stand_in_order_of_file_line_and_code() {
    let text = flag(
        "extra = 1\n[flag.environments.prod]\nvariant = \"onn\"\n[[flag.environments.prod.rules]]\nsegment = \"nobody\"\n",
    );
    let found = lint_files(&[
        ("flags/b.toml", &text),
        ("flags/a.toml", &text),
        ("segments/z.toml", "[segment]\nother = 1\n"),
        ("segments/Bad Name.toml", "[segment]\n"),
    ]);

    let order: Vec<_> = found.iter().map(|d| (d.file.clone(), d.line, d.code)).collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
    assert!(found.len() > 8, "{found:#?}");
}

#[test]
fn one_run_reports_every_error_of_a_file() {
    let found = lint_files(&[(
        "flags/a.toml",
        "[flag]\ntype = \"boolaen\"\nlifecycel = \"active\"\n[flag.variants]\n\"On!\" = true\n[flag.environments.prod]\nvariant = \"x\"\n",
    )]);

    let codes: BTreeSet<&str> = found.iter().map(|d| d.code).collect();
    for code in ["E004", "E012", "E014", "E016", "E037"] {
        assert!(codes.contains(code), "{code} not in {codes:?}");
    }
}

#[test]
fn every_syntax_error_is_reported_with_its_own_place() {
    let found = lint_files(&[("flags/a.toml", "[flag\ntype = \"boolean\"\nx = = 1\n")]);

    let lines: Vec<usize> = found.iter().filter(|d| d.code == "E001").map(|d| d.line).collect();
    assert_eq!(lines.first(), Some(&2), "{found:#?}");
    assert!(lines.contains(&4), "{found:#?}");
}

#[test]
fn misspelt_words_are_answered_with_the_nearest() {
    let text = format!(
        "{}[[flag.environments.prod.rules]]\nsegment = \"statf\"\nvariant = \"of\"\n\
         [[flag.environments.prod.rules]]\npredicate = {{ attribute = \"a\", op = \"start_with\", value = \"x\" }}\nvariant = \"on\"\n",
        flag("[flag.environments._]\nvariant = \"on\"\n[flag.environments.prod]\nvarient = \"on\"\n")
    );
    let staff = "[segment]\npredicate = { attribute = \"a\", op = \"is_set\" }\n";
    let found = lint_files(&[("flags/a.toml", &text), ("segments/staff.toml", staff)]);

    let help = |code| only(&found, code).help.clone().unwrap_or_default();
    assert_eq!(help("E005"), "did you mean `staff`?");
    assert_eq!(help("E004"), "did you mean `off`?");
    assert_eq!(help("E019"), "did you mean `starts_with`?");
    assert_eq!(help("E016"), "did you mean `variant`?");
}

#[test]
fn a_cycle_of_segments_is_printed_from_its_first_segment_round_to_it() {
    let refers = |to: &str| format!("[segment]\npredicate = {{ segment = \"{to}\" }}\n");
    let (a, b, c) = (refers("b"), refers("c"), refers("a"));
    let found = lint_files(&[
        ("segments/a.toml", a.as_str()),
        ("segments/b.toml", b.as_str()),
        ("segments/c.toml", c.as_str()),
        ("flags/f.toml", &flag("[flag.environments._]\nvariant = \"on\"\n")),
    ]);

    let cycle = only(&found, "E025");
    assert!(cycle.message.contains("a → b → c → a"), "{cycle}");
}

/// Predicates that reference through segments count with what they reference.
#[test]
fn nesting_through_references_counts_like_nesting_in_place() {
    let chain = |length: usize| {
        let mut files = vec![(
            "segments/s0.toml".to_owned(),
            "[segment]\npredicate = { attribute = \"a\", op = \"is_set\" }\n".to_owned(),
        )];
        for i in 1..length {
            files.push((
                format!("segments/s{i}.toml"),
                format!("[segment]\npredicate = {{ not = {{ segment = \"s{}\" }} }}\n", i - 1),
            ));
        }
        files.push((
            "flags/f.toml".to_owned(),
            flag(&format!(
                "[flag.environments._]\nvariant = \"on\"\n[[flag.environments._.rules]]\nsegment = \"s{}\"\nvariant = \"off\"\n",
                length - 1
            )),
        ));
        files
    };
    let lint = |files: &[(String, String)]| {
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        lint_files(&files).into_iter().filter(|d| d.severity == Severity::Error).collect::<Vec<_>>()
    };

    assert_eq!(lint(&chain(8)), []);
    assert!(lint(&chain(64)).iter().all(|d| d.code == "E024"));
    assert!(!lint(&chain(64)).is_empty());
}

/// Each segment references the one before twice: 2^n nodes if they were written out.
#[test]
fn references_that_multiply_are_refused_before_they_are_written_out() {
    let mut files = vec![(
        "segments/s0.toml".to_owned(),
        "[segment]\npredicate = { attribute = \"a\", op = \"is_set\" }\n".to_owned(),
    )];
    for i in 1..28 {
        let before = format!("{{ segment = \"s{}\" }}", i - 1);
        files.push((
            format!("segments/s{i}.toml"),
            format!("[segment]\npredicate = {{ and = [{before}, {before}] }}\n"),
        ));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();

    let found = lint_files(&files);

    assert!(found.iter().any(|d| d.code == "E024"), "{found:#?}");
}

#[test]
fn a_rule_behind_one_that_catches_all_its_context_is_w006_and_one_behind_a_narrower_is_not() {
    let two = |first: &str, second: &str| {
        lint_files(&[(
            "flags/a.toml",
            &flag(&format!(
                "[flag.environments._]\nvariant = \"off\"\n\
                 [[flag.environments._.rules]]\npredicate = {first}\nvariant = \"on\"\n\
                 [[flag.environments._.rules]]\npredicate = {second}\nvariant = \"off\"\n\
                 [[flag.environments._.rules]]\npredicate = {{ attribute = \"last\", op = \"is_set\" }}\nvariant = \"on\"\n"
            )),
        )])
        .iter()
        .any(|d| d.code == "W006")
    };
    let is = |value: &str| format!("{{ attribute = \"country\", op = \"eq\", value = \"{value}\" }}");
    let (us, de) = (is("US"), is("DE"));
    let either = format!("{{ or = [{us}, {de}] }}");

    assert!(two(&us, &us));
    assert!(!two(&us, &de));
    assert!(!two(&us, &either));
    assert!(two(&format!("{{ or = [{us}, {{ not = {us} }}] }}"), &de));
}

#[test]
fn the_examples_lint_without_a_finding() {
    let namespaces = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces");
    for namespace in ["payments", "storefront", "platform-ops"] {
        assert_eq!(lint(&namespaces.join(namespace)).diagnostics, [], "{namespace}");
    }
}

#[test]
fn a_path_that_is_missing_or_a_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");

    let error = lint_dir(&missing).unwrap_err();

    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(error.hint_text().is_some());
}

/// The files of the examples, which random edits start from.
fn example_files() -> BTreeMap<String, Vec<u8>> {
    let namespaces = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces");
    ["payments", "platform-ops"]
        .into_iter()
        .flat_map(|name| {
            let tree = read_tree(&namespaces.join(name), &ReadLimits::default()).unwrap();
            tree.iter()
                .filter_map(|(path, entry)| match entry {
                    Entry::File(content) => Some((path.to_owned(), content.to_vec())),
                    _ => None,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// An edit of a file: where in it, as a share of its length, how many bytes go, and what comes.
fn edit() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, usize, Vec<u8>)> {
    let words = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        "\"",
        "=",
        "\n",
        ".",
        "#",
        "'''",
        "true",
        "1e999",
        "-",
        "flag",
        "rules",
        "[[flag.environments._.rules]]",
        "9223372036854775808",
        "\u{feff}",
        "inf",
        "\\u0000",
        "variant",
        "not",
        "and",
        "segment",
    ]);
    let comes =
        prop_oneof![words.prop_map(|w| w.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..6),];
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_usize..40, comes)
}

fn tree_of(files: &BTreeMap<String, Vec<u8>>) -> Tree {
    let mut tree = Tree::new();
    for (path, content) in files {
        tree.insert(path.clone(), Entry::File(Bytes::from(content.clone())));
    }
    tree
}

fn in_place(report: &LintReport, files: &BTreeMap<String, Vec<u8>>) -> Result<(), TestCaseError> {
    for d in &report.diagnostics {
        prop_assert!(d.line >= 1 && d.column >= 1, "{d}");
        let Some(span) = &d.span else { continue };
        let content = &files[d.file.to_str().unwrap()];
        prop_assert!(span.start <= span.end && span.end <= content.len(), "{d}");
        let line = content[..span.start].iter().filter(|b| **b == b'\n').count() + 1;
        prop_assert_eq!(d.line, line, "{}", d);
    }
    Ok(())
}

/// Predicates over two attributes with three values, as TOML.
fn predicate() -> impl Strategy<Value = String> {
    let attribute = prop::sample::select(vec!["a", "b"]);
    let value = || prop::sample::select(vec!["x", "y", "z"]);
    let atom = (attribute, 0..5, value(), value()).prop_map(|(attribute, op, one, other)| {
        let rest = match op {
            0 => format!("op = \"eq\", value = \"{one}\""),
            1 => format!("op = \"neq\", value = \"{one}\""),
            2 => format!("op = \"in\", values = [\"{one}\", \"{other}\"]"),
            3 => "op = \"is_set\"".to_owned(),
            _ => "op = \"is_not_set\"".to_owned(),
        };
        format!("{{ attribute = \"{attribute}\", {rest} }}")
    });
    atom.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|p| format!("{{ not = {p} }}")),
            (prop::sample::select(vec!["and", "or"]), prop::collection::vec(inner, 1..4))
                .prop_map(|(word, list)| format!("{{ {word} = [{}] }}", list.join(", "))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// By trying every context there is.
    #[test]
    fn a_rule_that_w006_calls_unreachable_matches_no_context(first in predicate(), second in predicate()) {
        let text = flag(&format!(
            "[flag.environments._]\nvariant = \"off\"\n\
             [[flag.environments._.rules]]\npredicate = {first}\nvariant = \"on\"\n\
             [[flag.environments._.rules]]\npredicate = {second}\nvariant = \"on\"\n"
        ));
        let files = [("flags/f.toml", format!("schema_version = \"0.1\"\n{text}"))];
        let namespace = Namespace::from_files("shop", &files.into_iter().collect::<BTreeMap<_, _>>()).unwrap();
        let called = lint_files(&[("flags/f.toml", &text)]).iter().any(|d| d.code == "W006");

        let values = [None, Some("x"), Some("y"), Some("z"), Some("other")];
        let matched = values.iter().flat_map(|a| values.iter().map(move |b| (a, b))).any(|(a, b)| {
            let mut context = EvalContext::builder();
            for (name, value) in [("a", a), ("b", b)] {
                if let Some(value) = value {
                    context = context.str(name, *value);
                }
            }
            namespace.eval("f", "production", &context.build()).unwrap().rule_matched == RuleMatched::Rule(1)
        });

        prop_assert!(!(called && matched));
    }
}

proptest! {
    #[test]
    fn lint_of_any_bytes_ends_without_a_panic_and_points_inside_the_file(
        content in prop::collection::vec(any::<u8>(), 0..400),
        folder in prop::sample::select(vec!["flags/a.toml", "segments/a.toml", "namespace.toml"]),
    ) {
        let files = BTreeMap::from([(folder.to_owned(), content)]);
        let linted = lint_tree(&tree_of(&files), &LintOptions::new().with_slug("shop"));

        in_place(&linted.report, &files)?;
        prop_assert_eq!(linted.manifest.is_some(), linted.report.passed());
    }

    #[test]
    fn lint_of_damaged_files_is_deterministic_and_never_accepts_what_it_reports_as_wrong(
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        let mut files = example_files();
        let paths: Vec<String> = files.keys().cloned().collect();
        for (which, place, gone, comes) in edits {
            let content = files.get_mut(&paths[which.index(paths.len())]).unwrap();
            let from = place.index(content.len() + 1);
            let to = (from + gone).min(content.len());
            content.splice(from..to, comes);
        }
        let tree = tree_of(&files);
        let options = LintOptions::new().with_slug("payments");

        let linted = lint_tree(&tree, &options);

        in_place(&linted.report, &files)?;
        prop_assert_eq!(linted.manifest.is_some(), linted.report.passed());
        prop_assert_eq!(linted.report, lint_tree(&tree, &options).report);
    }

    #[test]
    fn an_archive_holds_what_was_packed_and_packs_to_the_same_bytes_again(
        flags in prop::collection::btree_map("[a-z][a-z0-9-]{0,12}", prop::collection::vec(any::<u8>(), 0..200), 0..6),
        segments in prop::collection::btree_map("[a-z][a-z0-9-]{0,12}", "[ -~]{0,80}", 0..6),
    ) {
        let mut tree = Tree::new();
        for (stem, content) in flags {
            tree.insert(format!("flags/{stem}.toml"), Entry::File(content.into()));
        }
        for (stem, content) in segments {
            tree.insert(format!("segments/{stem}.toml"), Entry::File(content.into()));
        }

        let packed = archive::pack(&tree).unwrap();
        let unpacked = archive::unpack(&packed).unwrap();

        prop_assert_eq!(archive::pack(&unpacked.tree).unwrap(), packed);
        prop_assert_eq!(unpacked.tree, tree);
    }

    #[test]
    fn unpacking_any_bytes_ends_without_a_panic(
        content in prop::collection::vec(any::<u8>(), 0..600),
        gzip in any::<bool>(),
    ) {
        let mut bytes = if gzip { vec![0x1f, 0x8b, 8, 0] } else { Vec::new() };
        bytes.extend(content);

        if let Ok(unpacked) = archive::unpack(&bytes) {
            prop_assert!(unpacked.tree.iter().all(|(path, _)| !path.contains("..") && !path.starts_with('/')));
        }
    }
}
