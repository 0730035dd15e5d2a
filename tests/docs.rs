//! README and docs tell the truth: tables are compared with the code, snippets are parsed or run.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use leverframe::{
    Leverframe,
    config::{Config, reference_markdown},
    eval::bucket,
    manifest::{LintOptions, lint::CODES, lint_tree},
    registry::Registry,
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of the table rows under a heading row.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let start = text.find(heading).unwrap_or_else(|| panic!("no table `{heading}`"));
    text[start..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect()
}

fn snippets(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Whether a backend that the documents list is compiled in; they list all.
fn is_compiled_in(kind: &str, name: &str) -> bool {
    let optional = [
        ("source", "ftps", cfg!(feature = "source-ftps")),
        ("source", "git", cfg!(feature = "source-git")),
        ("transport", "curl", cfg!(feature = "transport-curl")),
        ("transport", "reqwest", cfg!(feature = "http-in-process")),
    ];
    optional.iter().find(|(k, n, _)| (*k, *n) == (kind, name)).is_none_or(|(.., built)| *built)
}

#[test]
fn the_readme_lists_the_backends_that_are_registered() {
    let mut listed = rows(&read("README.md"), "| kind | name | from | what it is |");
    listed.retain(|row| is_compiled_in(&row[0], &row[1]));

    let registered: Vec<Vec<String>> = Registry::discover()
        .unwrap()
        .list()
        .iter()
        .map(|l| [l.kind, l.name, l.origin, l.summary].map(str::to_owned).to_vec())
        .collect();

    assert_eq!(listed, registered);
}

#[test]
fn the_readme_lists_the_cargo_features() {
    let text = read("Cargo.toml");
    let manifest: toml::Table = toml::from_str(&text).unwrap();
    let features = manifest["features"].as_table().unwrap();
    let default: Vec<&str> =
        features["default"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();

    let listed = rows(&read("README.md"), "| feature | default | what it adds |");

    let names: Vec<&str> = listed.iter().map(|row| row[0].as_str()).collect();
    let mut expected: Vec<&str> = features.keys().map(String::as_str).filter(|f| *f != "default").collect();
    expected.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    for row in &listed {
        assert_eq!(row[1] == "yes", default.contains(&row[0].as_str()), "{row:?}");
    }
}

#[test]
fn the_configuration_in_the_readme_is_one_that_is_understood() {
    let snippet = &snippets(&read("README.md"), "toml")[0];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, snippet).unwrap();

    let config = Config::builder().file(&file).build().unwrap();

    config.check(&Registry::discover().unwrap()).unwrap();
    assert_eq!(config.tables("flags"), ["payments"]);
}

#[test]
fn the_configuration_in_the_readme_builds_once_its_places_exist() {
    let dir = tempfile::tempdir().unwrap();
    let payments = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces/payments");
    let snippet = snippets(&read("README.md"), "toml")[0]
        .replace("/etc/app/payments", payments.to_str().unwrap())
        .replace("/var/cache/app", dir.path().join("cache").to_str().unwrap());
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, snippet).unwrap();

    let frame = Leverframe::builder().config(Config::builder().file(&file)).build().unwrap();

    assert_eq!(frame.namespace("payments").unwrap().slug(), "payments");
    assert_eq!(frame.cache().name(), "file");
    frame.close().unwrap();
}

#[test]
fn the_second_configuration_in_the_readme_is_understood_and_builds_from_places_of_this_host() {
    let snippet = &snippets(&read("README.md"), "toml")[1];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, snippet).unwrap();
    let registry = Registry::discover().unwrap();

    let config = Config::builder().file(&file).build().unwrap();

    assert_eq!(config.tables("flags"), ["payments", "storefront"]);
    if !is_compiled_in("source", "git") || !is_compiled_in("transport", "reqwest") {
        return;
    }
    config.check(&registry).unwrap();
    // Nobody signed the example, and neither host exists.
    let examples = format!("file://{}/examples/namespaces", env!("CARGO_MANIFEST_DIR"));
    let here: String = snippet
        .lines()
        .filter(|line| !line.starts_with("trusted_keys"))
        .map(|line| match line {
            line if line.starts_with("uri = \"https:") => format!("uri = \"{examples}/payments\"\n"),
            line if line.starts_with("uri = \"git+ssh:") => format!("uri = \"{examples}/storefront\"\n"),
            line => {
                format!("{}\n", line.replace("/var/cache/app", dir.path().join("cache").to_str().unwrap()))
            }
        })
        .collect();
    fs::write(&file, here).unwrap();
    let frame = Leverframe::builder().config(Config::builder().file(&file)).build().unwrap();
    assert_eq!(frame.names(), ["payments", "storefront"]);
    for name in documented_metrics() {
        assert!(frame.metrics().contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert_eq!(frame.metrics().matches("# TYPE ").count(), documented_metrics().len());
    frame.close().unwrap();
}

#[test]
fn the_configurations_in_the_documents_are_understood() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for document in ["docs/guide.md", "docs/operations.md"] {
        let found = snippets(&read(document), "toml");
        assert!(!found.is_empty(), "{document}");
        for snippet in found {
            let file = dir.path().join("leverframe.toml");
            fs::write(&file, &snippet).unwrap();
            let config = Config::builder().file(&file).build().unwrap();
            config.check(&registry).unwrap_or_else(|e| panic!("{document}: {}: {snippet}", e.chain()));
        }
    }
}

/// The figures that `docs/operations.md` lists.
fn documented_metrics() -> Vec<String> {
    const HEADING: &str = "| metric | type | what it says |";
    let text = read("docs/operations.md");
    // The server's table comes first, that of clients last.
    rows(&text[text.rfind(HEADING).unwrap()..], HEADING).into_iter().map(|mut row| row.remove(0)).collect()
}

#[test]
fn the_documents_name_every_crate_that_is_depended_on() {
    let listed = read("docs/dependencies.md");

    for package in ["Cargo.toml", "plugins/cache-redis/Cargo.toml", "plugins/source-object-store/Cargo.toml"]
    {
        let manifest: toml::Table = toml::from_str(&read(package)).unwrap();
        for name in manifest["dependencies"].as_table().unwrap().keys().filter(|n| *n != "leverframe") {
            let named = listed.lines().any(|line| {
                line.starts_with('|')
                    && line.split('|').nth(1).is_some_and(|cell| cell.split(", ").any(|c| c.trim() == name))
            });
            assert!(named, "`{name}` of {package} has no row in docs/dependencies.md");
        }
    }
}

#[test]
fn every_backend_has_an_example_that_is_understood() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for listed in registry.list() {
        let file = dir.path().join("leverframe.toml");
        fs::write(&file, listed.example).unwrap();

        let config = Config::builder()
            .file(&file)
            .build()
            .unwrap_or_else(|e| panic!("{}: {}", listed.name, e.chain()));

        assert!(!listed.example.is_empty(), "{} {}", listed.kind, listed.name);
        config.check(&registry).unwrap_or_else(|e| panic!("{}: {}", listed.name, e.chain()));
    }
}

#[test]
fn the_configuration_reference_is_the_one_that_the_settings_write() {
    let text = read("docs/configuration.md");
    let sections = text.split("\n## `[").skip(1).filter(|section| {
        let table = section.split_once("]`").unwrap().0;
        table.split_once('.').is_none_or(|(kind, name)| is_compiled_in(kind, name))
    });
    let listed: String = sections.map(|section| format!("## `[{section}\n")).collect();

    let written = reference_markdown(&Registry::discover().unwrap());

    assert_eq!(
        listed.trim(),
        written.trim(),
        "run `leverframe config reference` and put it into docs/configuration.md"
    );
}

#[test]
fn the_manifest_reference_lists_every_lint_code() {
    let listed = rows(&read("docs/manifest.md"), "| code | severity | trigger |");

    let known: Vec<Vec<String>> =
        CODES.iter().map(|c| vec![c.code.to_owned(), c.severity.to_string(), c.summary.to_owned()]).collect();

    let plain = |rows: Vec<Vec<String>>| -> Vec<Vec<String>> {
        rows.into_iter().map(|row| row.into_iter().map(|cell| cell.replace('`', "")).collect()).collect()
    };
    assert_eq!(plain(listed), plain(known));
}

#[test]
fn the_bucket_vectors_hold() {
    let vectors = rows(&read("docs/manifest.md"), "| salt | entity id | bucket |");

    assert!(vectors.len() >= 12);
    for row in vectors {
        assert_eq!(bucket(&row[1], &row[0]).to_string(), row[2], "{row:?}");
    }
}

#[test]
fn the_files_in_the_manifest_reference_lint_without_errors() {
    let snippets = snippets(&read("docs/manifest.md"), "toml");
    let files = [
        ("flags/ranking.toml", snippets[0].clone()),
        ("segments/ranking-first-tenth.toml", snippets[1].clone()),
        ("gate.toml", snippets[2].clone()),
    ];
    assert_eq!(snippets.len(), files.len(), "every file that is shown is looked at");

    let report = lint_tree(&files.into_iter().collect(), &LintOptions::new().with_slug("docs")).report;

    let errors: Vec<String> = report.errors().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_reflex_rules_in_the_guide_are_those_of_the_example_and_lint_without_a_finding() {
    let rules = read("examples/gate/gate.toml");

    assert!(snippets(&read("docs/guide.md"), "text").contains(&rules));
    let (ruleset, findings) = leverframe::gate::reflex::Ruleset::parse(&rules);
    assert!(ruleset.is_some() && findings.is_empty(), "{findings:#?}");
}

#[test]
fn the_example_namespaces_lint_without_errors_and_warnings_and_use_every_operator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces");
    let mut flags = 0;
    let mut text = String::new();
    for name in ["payments", "storefront", "platform-ops"] {
        let report = leverframe::lint_dir(root.join(name)).unwrap();
        let findings: Vec<String> =
            report.errors().chain(report.warnings()).map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{findings:#?}");
        flags += report.flags;
        for folder in ["flags", "segments"] {
            for item in fs::read_dir(root.join(name).join(folder)).unwrap() {
                text.push_str(&fs::read_to_string(item.unwrap().path()).unwrap());
            }
        }
    }

    assert!(flags >= 40, "{flags} flags");
    for op in leverframe::manifest::model::Operator::ALL {
        assert!(text.contains(&format!("op = \"{op}\"")), "no example uses `{op}`");
    }
}
