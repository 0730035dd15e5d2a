//! A namespace with one flag, whose value tells which state of it is served.
#![allow(dead_code, reason = "every test binary uses its own part")]

use leverframe::{
    EvalContext, Namespace,
    document::{Content, Tree},
    manifest::archive,
};

/// The files of state `number`.
pub(crate) fn files(number: i64) -> Tree {
    let flag = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\ndescription = \"The limit\"\nowner = \"web\"\n\
         [flag.variants]\nused = {number}\n[flag.environments._]\nvariant = \"used\"\n"
    );
    let namespace = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n".to_owned();
    [("namespace.toml", namespace), ("flags/limit.toml", flag)].into_iter().collect()
}

/// State `number` as a source brings a directory.
pub(crate) fn tree(number: i64) -> Content {
    Content::Tree(files(number))
}

/// State `number` as an archive.
pub(crate) fn packed(number: i64) -> Vec<u8> {
    archive::pack(&files(number)).unwrap()
}

/// Which state is served.
pub(crate) fn served(namespace: &Namespace) -> i64 {
    namespace.eval_i64("limit", "production", &EvalContext::builder().build()).unwrap()
}

/// Any tree as an archive, whatever a namespace may hold.
pub(crate) fn tarball(tree: &Tree) -> Vec<u8> {
    let dir = written(tree);
    output(std::process::Command::new("tar").args(["-czf", "-", "-C"]).arg(dir.path()).arg("."))
}

/// State `number` as `git archive` writes it: with a header of its own and a folder around the files.
pub(crate) fn git_archive(number: i64) -> Vec<u8> {
    let dir = written(&files(number));
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-C"])
            .arg(dir.path())
            .args(args);
        output(&mut command)
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "State"]);
    git(&["archive", "--format=tar.gz", "--prefix=shop-main/", "HEAD"])
}

/// The files of a tree in a folder that goes with the value.
pub(crate) fn written(tree: &Tree) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, entry) in tree.iter() {
        let leverframe::document::Entry::File(content) = entry else { continue };
        let target = dir.path().join(path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, content).unwrap();
    }
    dir
}

fn output(command: &mut std::process::Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
