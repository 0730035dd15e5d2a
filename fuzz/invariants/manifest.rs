//! The TOML of flags, segments and namespaces, through lint.

use leverframe::{
    EvalContext, EvalOptions,
    document::Entry,
    eval::Program,
    manifest::{Diff, Fingerprint, LintOptions, Linted, Schema, archive, lint_tree},
};

use super::tree::tree;

/// Lint says the same twice, with places that are in the files; what it accepts survives packing, differs in
/// nothing from itself, and every flag of it evaluates.
pub fn manifest(data: &[u8]) {
    let tree = tree(data);
    let options = LintOptions::new().with_slug("fuzz");

    let Linted { manifest, report, .. } = lint_tree(&tree, &options);

    assert_eq!(lint_tree(&tree, &options).report, report, "lint is not deterministic");
    assert_eq!(manifest.is_some(), report.passed(), "a model is there exactly if there is no error");
    for finding in &report.diagnostics {
        assert!(finding.line >= 1 && finding.column >= 1, "{finding:?}");
        assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{finding:?}");
        if let Some(span) = &finding.span {
            let path = finding.file.to_str().expect("paths of a tree are text");
            let Some(Entry::File(content)) = tree.get(path) else { panic!("no such file: {finding:?}") };
            let text = std::str::from_utf8(content).expect("only text has places");
            let before = text.get(..span.start).unwrap_or_else(|| panic!("splits a character: {finding:?}"));
            assert!(text.get(span.clone()).is_some(), "outside of the file: {finding:?}");
            assert_eq!(before.matches('\n').count() + 1, finding.line, "{finding:?}");
        }
    }
    let Some(manifest) = manifest else { return };

    let packed = archive::pack(&tree).expect("an accepted namespace of this size can be packed");
    let unpacked = archive::unpack(&packed).expect("what was packed can be unpacked").tree;
    assert_eq!(archive::pack(&unpacked).expect("a second time as well"), packed);
    let again = lint_tree(&unpacked, &options);
    assert_eq!(again.manifest.as_ref(), Some(&manifest), "packing changes the namespace");
    assert_eq!(Fingerprint::of(&unpacked), Fingerprint::of(&tree));
    assert!(Diff::between(&manifest, &manifest).changes().is_empty());

    let program = Program::compile(&manifest);
    assert_eq!(program.len(), manifest.flags.len());
    let schema = Schema::of(&manifest, None, None).expect("a schema of all flags");
    assert_eq!(schema.to_json(), schema.to_json());
    for key in manifest.flags.keys() {
        for environment in environments(&manifest) {
            let result = program.evaluate(key, environment, &EvalContext::new(), &EvalOptions::new());
            let variant = result.expect("an empty context has no attribute of a wrong type").variant_key;
            assert!(manifest.flags[key].variant(variant).is_some());
        }
    }
}

/// Returns the environments that flags can be evaluated in.
pub(crate) fn environments(manifest: &leverframe::manifest::Manifest) -> Vec<&str> {
    match &manifest.environments {
        Some(declared) => declared.iter().map(|e| e.name.as_str()).collect(),
        None => vec!["production", "staging"],
    }
}
