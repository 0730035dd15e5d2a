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
