//! How deep a file nests, told from its tokens before anything is built.
//!
//! The parser bounds brackets and dotted keys each for themselves, but a dotted key in every bracket multiplies the
//! two to thousands of levels. Values that deep end the process when they are dropped, which happens inside the
//! parser as well, so the check has to come first.

use toml_parser::{Source, lexer::TokenKind};

use super::Span;

/// Levels of tables and arrays. The parser's own bound for brackets is 80; rules and predicates need fewer.
pub(crate) const LEVELS: usize = 160;

/// Returns where the file first nests deeper than [`LEVELS`]; the parser builds at most one level more than
/// is counted, in broken files.
pub(super) fn too_deep(text: &str) -> Option<Span> {
    deeper_than(LEVELS, text)
}

fn deeper_than(levels: usize, text: &str) -> Option<Span> {
    let mut depth = Depth::default();
    for token in Source::new(text).lex() {
        depth.token(token.kind());
        if depth.levels() > levels {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

/// Keys count with the longest so far in their place, not with the one at hand: in a broken file the parser may hold
/// on to a key beyond its end.
#[derive(Default)]
struct Depth {
    in_line: bool,
    in_header: bool,
    header: Dots,
    /// Of keys outside all brackets.
    outside: Dots,
    /// The open brackets, each with the keys in it.
    open: Vec<(TokenKind, Dots)>,
    /// The sum of the longest of the latter.
    inside: usize,
}

#[derive(Default)]
struct Dots {
    now: usize,
    most: usize,
}

impl Dots {
    fn dot(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

impl Depth {
    /// A name of a header may stand for an array of tables, which is two levels.
    fn levels(&self) -> usize {
        2 * (self.header.most + 1) + self.outside.most + self.open.len() + self.inside
    }

    fn token(&mut self, kind: TokenKind) {
        let first = !self.in_line;
        match kind {
            TokenKind::Whitespace => return,
            TokenKind::Newline if self.open.is_empty() => {
                self.in_line = false;
                self.in_header = false;
                self.header.now = 0;
                self.outside.now = 0;
                return;
            }
            TokenKind::LeftSquareBracket if first && self.open.is_empty() => self.in_header = true,
            TokenKind::Dot if self.in_header => self.header.dot(),
            _ if self.in_header => {}
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                self.open.push((kind, Dots::default()));
            }
            TokenKind::RightSquareBracket => self.close(TokenKind::LeftSquareBracket),
            TokenKind::RightCurlyBracket => self.close(TokenKind::LeftCurlyBracket),
            TokenKind::Dot => match self.open.last_mut() {
                Some((_, dots)) => {
                    self.inside -= dots.most;
                    dots.dot();
                    self.inside += dots.most;
                }
                None => self.outside.dot(),
            },
            TokenKind::Comma => {
                if let Some((_, dots)) = self.open.last_mut() {
                    dots.now = 0;
                }
            }
            _ => {}
        }
        self.in_line = true;
    }

    /// A bracket that does not fit closes nothing here: to count too much in a broken file does no harm.
    fn close(&mut self, opener: TokenKind) {
        if self.open.last().is_some_and(|(kind, _)| *kind == opener)
            && let Some((_, dots)) = self.open.pop()
        {
            self.inside -= dots.most;
        }
    }
}

#[cfg(test)]
mod tests {
    use toml::{
        Spanned,
        de::{DeTable, DeValue},
    };

    use super::*;

    #[test]
    fn ordinary_files_are_shallow_whatever_their_strings_hold() {
        let dots = ".".repeat(1_000);
        let brackets = "[".repeat(1_000);
        let many = "a.b = [1.5, 2.5, { c.d = 1 }]\n".repeat(1_000);

        for text in [
            format!("a = \"{dots}\" # {brackets}\nb = '{brackets}'\n"),
            format!("a = \"\"\"\n{dots}\n{brackets}\"\"\"\"\"\nb = '''{brackets}'''\n"),
            format!("[[flag.environments.production.rules]]\n{many}"),
            format!("a = [{}]", "1.5,".repeat(1_000)),
        ] {
            assert_eq!(too_deep(&text), None, "{}", &text[..60]);
        }
    }

    fn levels(value: &DeValue<'_>) -> usize {
        let below = |values: &mut dyn Iterator<Item = &Spanned<DeValue<'_>>>| {
            values.map(|v| levels(v.get_ref())).max().unwrap_or(0) + 1
        };
        match value {
            DeValue::Array(items) => below(&mut items.iter()),
            DeValue::Table(table) => below(&mut table.iter().map(|(_, v)| v)),
            _ => 0,
        }
    }

    #[test]
    fn the_parser_builds_no_deeper_than_is_counted_whatever_the_tokens() {
        const TOKENS: &[&str] = &[
            "a", "b", "c", "d", ".", ".", "=", "=", ",", "[", "[", "]", "{", "{", "}", "\n", "\n", " ", "1",
            "'s'", "#", "\"", "'''", "[[", "]]", "\n[", "a.b=", "{a=", "}\n",
        ];
        let mut state = 7_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut deepest = 0;
        for _ in 0..30_000 {
            let text: String = (0..next(40)).map(|_| TOKENS[next(TOKENS.len())]).collect();
            let (root, _) = DeTable::parse_recoverable(&text);
            // The root table itself is not counted.
            let built = levels(&DeValue::Table(root.into_inner())) - 1;
            deepest = deepest.max(built);

            // A closing bracket that nothing opened makes the parser suppose an empty value, which is a level.
            assert!(built <= 1 || deeper_than(built - 2, &text).is_some(), "{built} levels in {text:?}");
        }
        assert!(deepest >= 4, "{deepest}");
    }

    #[test]
    fn brackets_dots_and_headers_add_up() {
        let nested = |names: usize| {
            let key = vec!["k"; names].join(".");
            too_deep(&format!("[{key}]\n{key} = [{{ {key} = 1 }}]"))
        };

        // Two levels a name of the header, one a further name of the two keys, and the two brackets.
        assert_eq!(nested(LEVELS / 4), None);
        assert!(nested(LEVELS / 4 + 1).is_some());
        for deep in [
            format!("a = {}", "[".repeat(LEVELS + 1)),
            format!("a = {}", "{ a.b = ".repeat(LEVELS / 2 + 1)),
            format!("{} = 1", vec!["a"; LEVELS + 2].join(".")),
            format!("[{}]", vec!["a"; LEVELS / 2 + 2].join(".")),
            format!("a = {}", "[}".repeat(LEVELS + 1)),
        ] {
            assert!(too_deep(&deep).is_some(), "{}", &deep[..20]);
        }
    }
}
