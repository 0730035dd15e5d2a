//! `leverframe init`

use leverframe::{
    document::Tree,
    manifest::{LintOptions, lint_tree},
};

use crate::{
    args::InitArgs,
    failure::{Failure, exit},
    output::{GREEN, Out, styled},
    place::{new_directory, write_tree},
};

pub(super) fn run(args: &InitArgs, out: &mut Out) -> Result<u8, Failure> {
    let slug = match &args.slug {
        Some(slug) => slug.clone(),
        None => {
            let absolute = std::path::absolute(&args.dir)?;
            absolute.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
        }
    };
    let files = [
        ("namespace.toml", NAMESPACE.replace("@slug@", &slug)),
        ("flags/new-greeting.toml", FLAG.to_owned()),
        ("segments/first-tenth.toml", SEGMENT.to_owned()),
    ];
    let tree: Tree = files.into_iter().collect();
    if lint_tree(&tree, &LintOptions::new()).report.has_errors() {
        return Err(Failure::usage(format!("`{slug}` is no well-formed slug"))
            .with_hint("name one with --slug: `[a-z][a-z0-9-]*`, at most 63 characters"));
    }
    new_directory(&args.dir)?;
    write_tree(&tree, &args.dir)?;
    for (path, _) in tree.iter() {
        out.line(format!("{} {}", styled(GREEN, "wrote"), args.dir.join(path).display()))?;
    }
    out.note(format!("next: leverframe lint {0} && leverframe eval new-greeting --env production --manifest {0} --ctx user.id=u-1", args.dir.display()));
    Ok(exit::OK)
}

const NAMESPACE: &str = r#"schema_version = "0.1"

[namespace]
slug = "@slug@"
display_name = "@slug@"
description = "What these flags are about"

[namespace.environments]
staging    = { display_name = "Staging" }
production = { display_name = "Production" }
"#;

const FLAG: &str = r#"schema_version = "0.1"

[flag]
type = "boolean"
description = "Greets with the new text"
owner = "my-team"
lifecycle = "development"

[flag.variants]
on = true
off = false

# What everybody gets where nothing else decides.
[flag.environments._]
variant = "off"

[flag.environments.staging]
variant = "on"

[[flag.environments.production.rules]]
description = "First tenth of users"
segment = "first-tenth"
variant = "on"
"#;

const SEGMENT: &str = r#"schema_version = "0.1"

[segment]
description = "A tenth of all users, always the same ones"

# 10,000 buckets, both ends included: raise `end` to let more in; those who are in stay in.
[segment.bucket]
entity_id_attribute = "user.id"
salt = "first-tenth"
start = 0
end = 999
"#;
