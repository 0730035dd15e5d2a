//! The dialect, held against the `ignore` crate, which read it in earlier versions.

use ignore::gitignore::GitignoreBuilder;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Ignored, Patterns};

/// So many cases, unless `PROPTEST_CASES` asks for another number.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads lines here and there, and returns both matchers if they agree on which lines are broken.
fn both(lines: &[String]) -> Option<(Ignored, ignore::gitignore::Gitignore)> {
    let (mut ours, mut theirs) = (Patterns::default(), GitignoreBuilder::new(""));
    for line in lines {
        let (here, there) = (ours.add(line), theirs.add_line(None, line).map(drop));
        assert_eq!(here.is_err(), there.is_err(), "{line:?}: {here:?}, {there:?}");
    }
    // Theirs gives up on braces in braces beyond a depth, and on the whole file with them.
    theirs.build().ok().map(|theirs| (ours.build(), theirs))
}

#[track_caller]
fn agree(lines: &[String], paths: &[String]) {
    let Some((ours, theirs)) = both(lines) else { return };
    for path in paths {
        for directory in [false, true] {
            let expected = theirs.matched_path_or_any_parents(path, directory).is_ignore();
            assert_eq!(ours.holds(path, directory), expected, "{path:?} ({directory}) against {lines:?}");
        }
    }
}

/// Parts of patterns: what means something, near misses, and characters of one to four bytes.
const PARTS: &[&str] = &[
    "*",
    "*",
    "**",
    "**/",
    "/**",
    "/**/",
    "/",
    "/",
    "?",
    "a",
    "b",
    "ab",
    "a.b",
    ".",
    "..",
    ".toml",
    "flags",
    "-",
    "x",
    "[",
    "]",
    "[]",
    "[a-c]",
    "[!a]",
    "[^b]",
    "[]a]",
    "[!]a]",
    "[a-",
    "[a-]",
    "[--a]",
    "[b-a]",
    "[+--]",
    "[a\\]",
    "[*?]",
    "[/]",
    "[!/]",
    "[a/b]",
    "[.-0]",
    "[ä]",
    "[!ä]",
    "[a-ö]",
    "[ä-€]",
    "[€-😀]",
    "{",
    "}",
    ",",
    "{a,b}",
    "{,a}",
    "{}",
    "{{},a}",
    "{a,{b,ab}}",
    "{**,a}",
    "{**/,a}",
    "{**/a,b}",
    "{a/**,b}",
    "{a/**/**,b}",
    "{*,?}",
    "{a\\,**/b}",
    "{b\\{**,a}",
    "{a/b\\,**,b}",
    "\\",
    "\\\\",
    "\\*",
    "\\?",
    "\\[",
    "\\{",
    "\\,",
    "\\/",
    "\\a",
    "\\ ",
    " ",
    "  ",
    "\t",
    "!",
    "#",
    "\\!",
    "\\#",
    "ä",
    "€",
    "😀",
    "\u{3000}",
    "\0",
    "\n",
    "\r",
    "&&",
    "~~",
    "(",
    ")",
    "+",
    "^",
    "$",
    "|",
];

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(select(PARTS), 0..8).prop_map(|parts| parts.concat()),
        2 => vec(select(PARTS), 0..30).prop_map(|parts| parts.concat()),
        2 => "[a-c*?/!{},\\[\\]\\\\. #-]{0,12}",
        1 => "\\PC{0,10}",
        1 => any::<String>().prop_map(|text| text.chars().take(40).collect()),
    ]
}

/// Paths as trees have them: no part is empty or begins with a dot.
fn path() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "a",
        "b",
        "ab",
        "a.b",
        "x",
        "flags",
        "segments",
        "flags.toml",
        "a.toml",
        "ba",
        "aab",
        "b.a.b",
        "ä",
        "a b",
        "a ",
        "€",
        "😀.toml",
        "-",
        "]",
        "[",
        "[]",
        "{a,b}",
        "{",
        "}",
        ",",
        "*",
        "**",
        "?",
        "!",
        "#",
        "#a",
        "!a",
        "\\",
        "a\\",
        "^",
        "+",
        "&&",
        "a\n",
        "\u{3000}",
        "a..b",
        "a.",
        "x.",
        "c",
    ];
    let part = prop_oneof![6 => select(NAMES).prop_map(str::to_owned), 1 => "[a-c/ä!#-]{1,5}", 1 => "[^./][^/]{0,4}"];
    vec(part, 1..5).prop_map(|parts| {
        let path = parts.join("/");
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')).collect();
        if parts.is_empty() { "a".to_owned() } else { parts.join("/") }
    })
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn single_patterns_mean_what_they_always_meant(line in line(), paths in vec(path(), 8)) {
        agree(&[line], &paths);
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn whole_files_mean_what_they_always_meant(lines in vec(line(), 0..12), paths in vec(path(), 12)) {
        agree(&lines, &paths);
    }

    #[test]
    fn the_names_of_a_path_as_patterns_mean_what_they_always_meant(
        path in path(),
        cut in any::<prop::sample::Index>(),
        glue in select(&["*", "?", "**", "/**/", "/", "", "{a,", "}", "[", "]", "\\"][..]),
        before in select(&["", "/", "!", "**/", "*", "\\"][..]),
        after in select(&["", "/", "/**", "/*", "*", " ", "\\ "][..]),
    ) {
        let at = (0..=cut.index(path.len() + 1)).rfind(|at| path.is_char_boundary(*at)).unwrap_or(0);
        let line = format!("{before}{}{glue}{}{after}", &path[..at], &path[at..]);

        agree(&["*".to_owned(), format!("!{line}")], std::slice::from_ref(&path));
        agree(&[line], &[path]);
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Every pattern of few characters, so that no corner depends on luck.
#[test]
fn all_short_patterns_mean_what_they_always_meant() {
    let alphabet = ['*', '/', 'a', '[', ']', '{', '}', ',', '\\', '!', '?'];
    let paths: Vec<String> =
        ["a", "b", "a/a", "b/a", "a/b/a", "aa", "]", "a,", "!", "a/*"].map(str::to_owned).into();
    let mut patterns = vec![String::new()];
    let mut all = 0;
    for _ in 0..4 {
        patterns = patterns.iter().flat_map(|start| alphabet.map(|c| format!("{start}{c}"))).collect();
        all += patterns.len();
        // Matchers of theirs are slow to make, so a hundred share one.
        for group in patterns.chunks(100) {
            for pattern in group {
                both(std::slice::from_ref(pattern));
            }
        }
        for pattern in patterns.iter().step_by(if all > 10_000 { 3 } else { 1 }) {
            agree(std::slice::from_ref(pattern), &paths);
        }
    }
    assert_eq!(all, 16_104);
}

#[test]
fn an_escaped_comma_before_two_stars_is_as_odd_as_ever() {
    let paths = ["a/b", "a/x/b", "a,/b", "a,x/b", "b", "b{", "b/x", "b/", "a/b/x"].map(str::to_owned);
    for pattern in ["{a\\,**/b}", "/{a\\,**/b}", "{b\\{**,a}", "/{b\\{**,a}", "/a/{b\\,**,b}", "a\\,**/b"] {
        agree(&[pattern.to_owned()], &paths.clone().map(|path| path.trim_end_matches('/').to_owned()));
    }
    let (ours, _) = both(&lines("/{a\\,**/b}\n")).unwrap();
    assert!(ours.holds("a/x/b", false));
}

#[test]
fn the_dialect_of_the_manual() {
    let cases = [
        ("# a\n#a\n", "#a", false),
        ("\\#a\n", "#a", true),
        ("\\!a\n", "!a", true),
        ("a \n", "a", true),
        ("a\\ \n", "a ", true),
        ("a\\ \n", "a", false),
        ("b\n", "a/b/c", true),
        ("/b\n", "a/b", false),
        ("a/b\n", "x/a/b", false),
        ("a/*\n", "a/b/c", true),
        ("/*/c\n", "a/b/c", false),
        ("**/b\n", "a/b", true),
        ("a/**\n", "a/b/c", true),
        ("a/**/c\n", "a/c", true),
        ("a/**/c\n", "a/b/b/c", true),
        ("a**c\n", "abbc", true),
        ("a**/c\n", "ab/b/c", false),
        ("[a-c]x\n", "bx", true),
        ("[!a-c]x\n", "bx", false),
        ("[^a-c]x\n", "dx", true),
        ("{a,b}.toml\n", "b.toml", true),
        ("*\n!a\n", "a", false),
        ("*\n!a\n", "b", true),
        // A folder that is left out takes what is in it along, unless a rule names that itself.
        ("a/\n!a/b\n", "a/b", false),
        ("a/\n!b/\n", "a/c", true),
        ("!a\na\n", "a", true),
    ];
    for (text, path, left_out) in cases {
        let (ours, theirs) = both(&lines(text)).unwrap();

        assert_eq!(ours.holds(path, false), left_out, "{text:?} {path:?}");
        assert_eq!(
            theirs.matched_path_or_any_parents(path, false).is_ignore(),
            left_out,
            "{text:?} {path:?}"
        );
    }
    // For directories only.
    let (ours, _) = both(&lines("a/\n")).unwrap();
    assert!(ours.holds("a", true) && ours.holds("a/b", false) && !ours.holds("a", false));
}

/// Each is a way to make a matcher that tries one thing after the other take for ever.
#[test]
fn hostile_patterns_take_bounded_time_and_mean_the_same() {
    let name = "ab".repeat(60);
    let path = format!("{name}/{name}");
    for pattern in [
        "*a".repeat(200),
        "a*".repeat(250) + "x",
        "**/".repeat(160) + "x",
        "**/*a*/".repeat(60) + "x",
        "a*b*/".repeat(90),
        "?*".repeat(240),
        "{a,b}".repeat(90),
        "{a*,b*}".repeat(60) + "x",
        "*{*a,*b}".repeat(50),
        "{".repeat(60) + "a" + &"}".repeat(60),
        "{a,".repeat(80) + "b" + &"}".repeat(80),
        "{*,".repeat(80) + "b" + &"}".repeat(80),
        "[a-z]*".repeat(80),
        "[".repeat(500),
        "[!".repeat(250),
        "\\".repeat(500),
    ] {
        agree(std::slice::from_ref(&pattern), &[path.clone(), name.clone(), "x".to_owned()]);
        agree(&[format!("/{pattern}")], &[path.clone(), name.clone(), "x".to_owned()]);
    }
}

#[test]
fn a_file_of_nothing_but_hostile_patterns_takes_bounded_work() {
    let mut patterns = Patterns::default();
    let many = (0..200).find_map(|i| patterns.add(&format!("{}{i}", "*a".repeat(250))).err());
    let mut alternatives = Patterns::default();
    let braces = (0..200).find_map(|_| alternatives.add(&"{a*,b*}".repeat(60)).err());
    // Names are looked up, so there may be as many as fit into the file.
    let mut names = Patterns::default();
    (0..10_000).for_each(|i| names.add(&format!("/flags/{i}.toml")).unwrap());

    assert_eq!(many.as_deref(), Some("too many patterns with wildcards"));
    assert_eq!(braces.as_deref(), Some("too many alternatives in braces"));
    assert!(names.build().holds("flags/9999.toml", false));
    // A bit for each step of a pattern is all there is, however the path is made.
    let ignored = patterns.build();
    assert!(ignored.automaton.words.len() <= 1_024);
    assert!(!ignored.holds(&"c".repeat(4_096), false));
}

#[test]
fn braces_nest_as_deep_as_a_line_is_long() {
    let mut patterns = Patterns::default();
    patterns.add(&format!("{}a{}", "{".repeat(255), "}".repeat(255))).unwrap();
    let ignored = patterns.build();

    assert!(ignored.holds("b/a", false));
    assert!(!ignored.holds("b/b", false));
}
