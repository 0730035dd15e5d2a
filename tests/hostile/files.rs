//! Files whose content is hostile.

use std::{fmt::Write as _, fs, path::Path, thread};

use leverframe::{Namespace, manifest::archive::limits};

use crate::{
    running::{NAMESPACE, Running, tier, value},
    sparse,
};

/// Spoils `flags/tier.toml` with each content in turn.
#[track_caller]
fn each_content_is_survived<C: AsRef<[u8]>>(
    cases: impl IntoIterator<Item = (&'static str, C, &'static [&'static str])>,
) {
    let running = Running::from_directory();
    for (case, content, words) in cases {
        let report = |root: &Path| fs::write(root.join("flags/tier.toml"), content.as_ref()).unwrap();
        running.survives(case, report, &[&["flags/tier.toml"], words].concat());
    }
}

fn json(value: &str) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"json\"\n[flag.environments._]\nvariant = \"a\"\n[flag.variants]\na = {value}\n"
    )
}

#[test]
fn empty_binary_and_wrongly_encoded_files_are_refused_by_name_and_place() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(tier(8).encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let elf: Vec<u8> =
        b"\x7fELF\x02\x01\x01".iter().copied().chain((0..4096).map(|i| (i % 251) as u8)).collect();

    each_content_is_survived([
        ("empty", Vec::new(), &["E001", "schema_version"][..]),
        ("a program", elf, &["E007", "UTF-8"]),
        ("UTF-16", utf16, &["E007", "byte 0"]),
        ("Latin-1 in the middle", [tier(8).as_bytes(), b"# caf\xe9\n"].concat(), &["E007", "UTF-8"]),
        ("NUL", [tier(8).as_bytes(), b"\0"].concat(), &["E001", ":8:1"]),
        ("carriage returns alone", tier(8).replace('\n', "\r").into_bytes(), &["E001"]),
    ]);
}

#[test]
fn a_file_cut_at_any_byte_is_refused_or_whole_and_never_half_taken() {
    let running = Running::from_directory();
    let whole = tier(8);

    for end in 0..whole.len() {
        fs::write(running.tier(), &whole[..end]).unwrap();
        match running.namespace.refresh() {
            Ok(()) => assert_eq!(whole.trim_end(), &whole[..end], "a part was taken for the whole"),
            Err(error) => {
                assert!(error.to_string().contains("flags/tier.toml:"), "{end}: {error}");
                assert_eq!(value(&running.namespace), 7, "{end}");
            }
        }
    }
    running.recovers("cut");
}

#[test]
fn sparse_files_of_a_gibibyte_are_refused_without_being_read() {
    let running = Running::from_directory();

    for name in ["flags/tier.toml", "segments/s.toml", "namespace.toml"] {
        let cost =
            running.survives(name, |root| sparse(&root.join(name)), &["E008", name, "1073741824 bytes"]);
        assert!(cost.bytes_total < 1_000_000, "{name}: {} bytes", cost.bytes_total);
    }
    let cost = running.survives(
        "ignore file",
        |root| sparse(&root.join(".exdignore")),
        &["E007", ".exdignore", "larger"],
    );
    assert!(cost.bytes_total < 1_000_000, "{} bytes", cost.bytes_total);
    let running = Running::from_archive();
    let cost = running.survives("archive", sparse, &["shop-v1.tar.gz", "1073741824", "5000000"]);
    assert!(cost.bytes_total < 1_000_000, "{} bytes", cost.bytes_total);
}

#[test]
fn a_large_file_that_nobody_asked_for_is_no_matter() {
    let running = Running::from_directory();
    sparse(&running.place.join("core"));
    sparse(&running.place.join("flags/notes.md"));

    running.namespace.refresh().unwrap();

    assert_eq!(value(&running.namespace), 7);
}

#[test]
fn nesting_bombs_of_every_kind_are_refused_with_their_line() {
    let deep = 250_000;
    let dotted = vec!["a"; 79].join(".");
    // Brackets and dotted keys, each within the parser's own bound, together make 6,400 levels.
    let product = (0..79).fold("1".to_owned(), |inner, _| format!("{{ {dotted} = {inner} }}"));
    let not = (0..40)
        .fold("{ attribute = \"a\", op = \"is_set\" }".to_owned(), |inner, _| format!("{{ not = {inner} }}"));

    each_content_is_survived([
        (
            "arrays",
            json(&format!("{}{}", "[".repeat(deep), "]".repeat(deep))),
            &["E008", ":7:", "160 levels"][..],
        ),
        ("open arrays", json(&"[".repeat(deep)), &["E008", ":7:"]),
        ("inline tables", json(&format!("{}1{}", "{a=".repeat(deep), "}".repeat(deep))), &["E008", ":7:"]),
        ("dotted keys", json(&format!("1\nb{} = 1", ".a".repeat(deep))), &["E008", ":8:"]),
        ("headers", json(&format!("1\n[b{}]", ".a".repeat(deep))), &["E008", ":8:"]),
        ("both at once", json(&product), &["E008", ":7:"]),
        ("both at once, twice", json(&format!("{product}\na = {product}")), &["E008", ":7:"]),
        (
            "predicates",
            format!("{}[[flag.environments._.rules]]\nvariant = \"only\"\npredicate = {not}\n", tier(8)),
            &["E024", ":10:", "32"],
        ),
    ]);
}

#[test]
fn a_value_as_deep_as_is_allowed_loads_on_a_small_stack() {
    let dotted = vec!["a"; 75].join(".");
    let deep = format!("{}1{}", "[".repeat(75), "]".repeat(75));
    let text = json(&format!("{{ {dotted} = {deep} }}"));

    let small = thread::Builder::new().stack_size(1 << 20);
    let loaded =
        small.spawn(move || Namespace::from_files("shop", [("flags/deep.toml", text)]).map(drop)).unwrap();

    loaded.join().unwrap().unwrap();
}

#[test]
fn a_hundred_thousand_keys_tables_or_mistakes_end_in_a_short_report() {
    let many = |line: &dyn Fn(usize) -> String| (0..100_000).map(line).collect::<String>();

    each_content_is_survived([
        ("keys", format!("{}{}", tier(8), many(&|i| format!("k{i}=1\n"))), &["E016", "more"][..]),
        ("tables", many(&|i| format!("[t{i}]\n")), &["E001", "more"]),
        ("arrays of tables", many(&|_| "[[a]]\n".to_owned()), &["E001", "schema_version"]),
        ("one key again and again", many(&|_| "a=1\n".to_owned()), &["E001", ":2:1", "more"]),
        ("no keys", many(&|_| "=\n".to_owned()), &["E001", ":1:", "more"]),
        ("one line", "\"".repeat(limits::FILE), &["E001", ":1:"]),
    ]);
}

#[test]
fn undeclared_variants_beside_many_declared_ones_cost_no_product_of_the_two() {
    let mut text = json("1");
    for i in 0..40_000 {
        writeln!(text, "v{i:05}=1").unwrap();
    }
    text.push_str("[flag.environments.production]\nrules=[\n");
    for i in 0..10_000 {
        writeln!(text, "{{variant=\"w{i:05}\",predicate={{attribute=\"a\",op=\"is_set\"}}}},").unwrap();
    }
    text.push_str("]\n");

    each_content_is_survived([("variants", text, &["E004", "undeclared variant", "more"][..])]);
}

#[test]
fn environments_without_number_are_refused_before_they_multiply_with_the_flags() {
    let roster: String = (0..100_000).map(|i| format!("e{i}={{}}\n")).collect();
    let running = Running::from_directory();

    running.survives(
        "declared",
        |root| {
            fs::write(root.join("namespace.toml"), format!("{NAMESPACE}[namespace.environments]\n{roster}"))
                .unwrap();
            for i in 0..100 {
                // None of them is declared, and no message repeats the roster.
                let text = format!("{}[flag.environments.nowhere-at-all]\n", tier(8));
                fs::write(root.join(format!("flags/f{i}.toml")), text).unwrap();
            }
        },
        &["E010", "nowhere-at-all", "more"],
    );
    running.survives(
        "named by flags",
        |root| {
            let blocks: String = (0..1_001).map(|i| format!("[flag.environments.e{i}]\n")).collect();
            fs::write(root.join("flags/tier.toml"), tier(8) + &blocks).unwrap();
        },
        &["E008", "1001 environments"],
    );
}

#[test]
fn segments_that_expand_without_end_are_refused() {
    let segment = |predicate: &str| format!("schema_version = \"0.1\"\n[segment]\npredicate = {predicate}\n");
    let running = Running::from_directory();

    running.survives(
        "doubling",
        |root| {
            fs::write(root.join("segments/s0.toml"), segment("{ attribute = \"a\", op = \"is_set\" }"))
                .unwrap();
            for i in 1..31 {
                let below = i - 1;
                let text = segment(&format!(
                    "{{ and = [{{ segment = \"s{below}\" }}, {{ segment = \"s{below}\" }}] }}"
                ));
                fs::write(root.join(format!("segments/s{i}.toml")), text).unwrap();
            }
        },
        &["E024", "segments/s"],
    );
    running.survives(
        "a chain as long as a namespace may be",
        |root| {
            for i in 0..1_000 {
                let text = segment(&format!("{{ segment = \"s{}\" }}", i + 1));
                fs::write(root.join(format!("segments/s{i}.toml")), text).unwrap();
            }
            fs::write(root.join("segments/s1000.toml"), segment("{ segment = \"s0\" }")).unwrap();
        },
        &["E025", "cycle"],
    );
}

#[test]
fn patterns_that_cannot_be_compiled_or_cost_much_are_bounded() {
    let running = Running::from_directory();
    let dear = "**/*a*b*c*d*e*f*g*h*\n".repeat(3_000);

    running.survives(
        "braces",
        |root| fs::write(root.join(".exdignore"), "{".repeat(60_000)).unwrap(),
        &["E007", ".exdignore", "line 1"],
    );
    fs::write(running.place.join(".exdignore"), dear).unwrap();
    running.namespace.refresh().unwrap();
    assert_eq!(value(&running.namespace), 8);
}
