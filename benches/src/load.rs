//! Namespaces of any size, for what depends on size: lint, compilation, memory.
//!
//! A namespace holds at most 10,000 files (M9), so one of 10,000 flags has no room for segments; rules carry their
//! predicates themselves.

use std::fmt::Write as _;

use leverframe::document::Tree;

/// Writes `flags` flags as pairs of path and content: kill switches, targeted booleans, texts, numbers, documents.
#[must_use]
pub fn files(flags: usize) -> Vec<(String, String)> {
    (0..flags).map(|n| (format!("flags/{}-{n:05}.toml", STEMS[n % STEMS.len()]), flag(n))).collect()
}

/// Writes the same as a tree.
#[must_use]
pub fn tree(flags: usize) -> Tree {
    files(flags).into_iter().collect()
}

const STEMS: [&str; 5] = ["checkout-kill-switch", "premium-search", "price-label", "retry-limit", "theme"];

fn flag(n: usize) -> String {
    let (flag_type, variants) = match n % STEMS.len() {
        0 | 1 => ("boolean", "on = true\noff = false"),
        2 => ("string", "on = \"from-price\"\noff = \"list-price\""),
        3 => ("integer", "on = 5\noff = 3"),
        _ => ("json", "on = { columns = 3, accent = \"teal\" }\noff = { columns = 2, accent = \"grey\" }"),
    };
    let mut text = format!(
        "schema_version = \"0.1\"\n\n\
         [flag]\n\
         type = \"{flag_type}\"\n\
         description = \"What the {n}th flag is for, in the words of the team that owns it\"\n\
         owner = \"team-{}\"\n\
         tags = [\"generated\", \"load\"]\n\n\
         [flag.variants]\n\
         {variants}\n\n\
         [flag.environments._]\n\
         variant = \"off\"\n",
        n % 37
    );
    // A kill switch has no rules; every other flag has a staging block and rules in production.
    if !n.is_multiple_of(STEMS.len()) {
        write!(
            text,
            "\n[flag.environments.staging]\nvariant = \"on\"\n\n\
             [flag.environments.production]\nvariant = \"off\"\n\n\
             [[flag.environments.production.rules]]\n\
             description = \"Customers who asked for it\"\n\
             predicate = {{ and = [\
             {{ attribute = \"user.country\", op = \"in\", values = [\"US\", \"DE\", \"FR\"] }}, \
             {{ attribute = \"user.plan\", op = \"eq\", value = \"premium\" }}] }}\n\
             variant = \"on\"\n\n\
             [[flag.environments.production.rules]]\n\
             predicate = {{ attribute = \"user.email\", op = \"ends_with\", value = \"@team-{}.example.com\" }}\n\
             variant = \"on\"\n",
            n % 37
        )
        .expect("writing to a string does not fail");
    }
    text
}
