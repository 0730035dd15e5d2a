//! Names and literals in generated Rust code.

/// Writes text as a Rust string literal.
pub(crate) fn rust_string(text: &str) -> String {
    format!("{text:?}")
}

/// Turns any text into an identifier of lower-case words.
pub(crate) fn snake_case(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    match name.chars().next() {
        None => "attribute".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("attribute_{name}"),
        Some(_) if KEYWORDS.binary_search(&name).is_ok() => format!("{name}_"),
        Some(_) => name.to_owned(),
    }
}

/// Turns any text into a type name.
pub(crate) fn pascal_case(text: &str) -> String {
    let snake = snake_case(text);
    let upper = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    snake.split('_').map(upper).collect()
}

/// Gives each attribute a field of its own, numbered where names coincide.
pub(super) fn unique_fields<'a>(attributes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for attribute in attributes {
        let base = snake_case(attribute);
        let mut field = base.clone();
        let mut number = 2;
        while fields.contains(&field) {
            field = format!("{base}_{number}");
            number += 1;
        }
        fields.push(field);
    }
    fields
}

/// Words that cannot be identifiers, in order; `self`, `super` and `crate` not even with `r#`, hence the underscore.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_an_identifier() {
        assert_eq!(snake_case("user.id"), "user_id");
        assert_eq!(snake_case("--User  Ürl!"), "user_rl");
        assert_eq!(snake_case("7days"), "attribute_7days");
        assert_eq!(snake_case("type"), "type_");
        assert_eq!(snake_case("…"), "attribute");
        assert_eq!(pascal_case("search-ranking"), "SearchRanking");
    }

    #[test]
    fn keywords_are_sorted_for_the_search() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn coinciding_names_are_numbered() {
        assert_eq!(unique_fields(["a.b", "a_b", "a-b"].into_iter()), ["a_b", "a_b_2", "a_b_3"]);
    }
}
