//! `namespace.toml`.

use super::{
    Span,
    fields::{File, Root, Table, shown},
};
use crate::manifest::{
    lint::codes::{E009, E017, E029, E031},
    model::Environment,
    names,
};

/// What `namespace.toml` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceFile {
    pub(crate) slug: Option<(String, Span)>,
    pub(crate) display_name: Option<String>,
    pub(crate) description: String,
    pub(crate) telemetry_enabled: Option<bool>,
    pub(crate) private_attributes: Vec<String>,
    pub(crate) raw_entity_ids: bool,
    pub(crate) environments: Option<Vec<Environment>>,
}

pub(crate) fn parse_namespace(file: &mut File<'_>, root: &Root<'_>) -> NamespaceFile {
    let root = root.table();
    file.only_known(&root, &["schema_version", "namespace"]);
    let Some(table) = file.table(&root, "namespace", true) else { return NamespaceFile::default() };
    file.only_known(
        &table,
        &[
            "slug",
            "display_name",
            "description",
            "telemetry_enabled",
            "private_attributes",
            "raw_entity_ids",
            "environments",
        ],
    );
    NamespaceFile {
        slug: slug(file, &table),
        display_name: file.string(&table, "display_name").map(|(text, _)| text.to_owned()),
        description: file.string(&table, "description").map_or_else(String::new, |(text, _)| text.to_owned()),
        telemetry_enabled: file.boolean(&table, "telemetry_enabled").map(|(on, _)| on),
        private_attributes: file.strings(&table, "private_attributes"),
        raw_entity_ids: file.boolean(&table, "raw_entity_ids").is_some_and(|(on, _)| on),
        environments: environments(file, &table),
    }
}

fn slug(file: &mut File<'_>, table: &Table<'_, '_>) -> Option<(String, Span)> {
    const HELP: &str = "a slug is `[a-z][a-z0-9-]*`, at most 63 characters";
    if table.get("slug").is_none() {
        file.missing(E009, table, "slug", HELP);
        return None;
    }
    let (text, span) = file.string(table, "slug")?;
    if !names::is_slug(text) {
        file.findings.add_help(E009, span, format!("`namespace.slug` is malformed: `{}`", shown(text)), HELP);
        return None;
    }
    Some((text.to_owned(), span))
}

fn environments(file: &mut File<'_>, table: &Table<'_, '_>) -> Option<Vec<Environment>> {
    let roster = file.table(table, "environments", false)?;
    let mut environments = Vec::new();
    for (name, span, value) in roster.entries() {
        if name == "_" {
            file.findings.add_help(
                E031,
                span,
                "`_` cannot be declared: it is the catch-all of every flag",
                "remove it from the roster",
            );
            continue;
        }
        if !names::is_environment(name) {
            let message = format!("malformed environment name `{}`", shown(name));
            file.findings.add_help(
                E029,
                span,
                message,
                "an environment is `[a-z][a-z0-9_-]*`, at most 63 characters",
            );
            continue;
        }
        let Some(inner) = value.get_ref().as_table() else {
            file.findings.add(
                E017,
                value.span(),
                format!("environment `{name}` must be a table, such as `{name} = {{}}`"),
            );
            continue;
        };
        let inner = Table { table: inner, span, name };
        file.only_known(&inner, &["display_name", "public_evaluate"]);
        let mut environment = Environment::new(name);
        if let Some((text, _)) = file.string(&inner, "display_name") {
            text.clone_into(&mut environment.display_name);
        }
        environment.public_evaluate = file.boolean(&inner, "public_evaluate").is_some_and(|(on, _)| on);
        environments.push(environment);
    }
    if roster.table.is_empty() {
        file.findings.add_help(
            E031,
            roster.span.clone(),
            "the environment roster is empty",
            "declare at least one environment, or remove the table to accept any",
        );
    }
    Some(environments)
}
