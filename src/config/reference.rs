//! The reference of every setting, written from the settings themselves.

use std::fmt::Write;

use super::{Field, root};
use crate::{
    registry::{Kind, Registry},
    traits::{CacheStore, Clock, Source, TelemetrySink, Transport},
};

/// Returns the configuration reference as Markdown: the framework's own tables, then those of the backends in
/// `registry`. `docs/configuration.md` is this text; a test keeps the two equal.
///
/// # Examples
/// ```
/// use leverframe::{config::reference_markdown, registry::Registry};
/// let text = reference_markdown(&Registry::discover()?);
/// assert!(text.contains("## `[cache.file]`"));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[must_use]
pub fn reference_markdown(registry: &Registry) -> String {
    let mut text = String::new();
    for (name, fields) in root::TABLES {
        let by_name = if root::BY_NAME.contains(name) { ".<name>" } else { "" };
        table(&mut text, &format!("{name}{by_name}"), "", fields, "");
    }
    kind::<dyn Source>(&mut text, registry);
    kind::<dyn Transport>(&mut text, registry);
    kind::<dyn CacheStore>(&mut text, registry);
    kind::<dyn TelemetrySink>(&mut text, registry);
    kind::<dyn Clock>(&mut text, registry);
    text
}

fn kind<T: Kind + ?Sized>(text: &mut String, registry: &Registry) {
    for plugin in registry.of::<T>() {
        table(
            text,
            &format!("{}.{}", T::WORD, plugin.name()),
            plugin.summary(),
            plugin.fields(),
            plugin.example(),
        );
    }
}

fn table(text: &mut String, name: &str, summary: &str, fields: &[Field], example: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "## `[{name}]`\n\n");
    if !summary.is_empty() {
        let _ = write!(text, "{summary}.\n\n");
    }
    if fields.is_empty() {
        text.push_str("No settings.\n\n");
    } else {
        text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for field in fields {
            let doc: Vec<&str> = field.doc.iter().map(|line| line.trim()).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | `{}` | {} |",
                field.key(),
                field.kind.as_str(),
                field.default_text(),
                doc.join(" ")
            );
        }
        text.push('\n');
    }
    if !example.is_empty() {
        let _ = write!(text, "```toml\n{}\n```\n\n", example.trim());
    }
}
