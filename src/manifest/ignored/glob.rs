//! Reads one pattern of the gitignore dialect into steps that a matcher takes byte by byte.
//!
//! Reads in one pass and with a stack of its own, so that no input exhausts that of the thread. Which files are left
//! out is part of the format, so even the odd corners are kept as they always were; the tests hold them against the
//! `ignore` crate.

/// A pattern as a program: the steps follow each other, and the jumps lead over some of them.
#[derive(Debug, Default)]
pub(super) struct Glob {
    pub(super) steps: Vec<Step>,
    /// From one step to a later one without a byte, in the order of where they start.
    pub(super) jumps: Vec<(usize, usize)>,
    /// Whether there are alternatives, whose jumps follow no rule.
    pub(super) braces: bool,
}

/// What one step does with a byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Takes this byte and goes on.
    Byte(u8),
    /// Takes one of these bytes and goes on.
    Set(ByteSet),
    /// Takes bytes other than `/`, as many as there are; a jump leads on.
    Star,
    /// Takes all bytes; a jump leads on.
    Anything,
    /// Takes all bytes, and goes on behind each `/`.
    Descend,
    /// Takes nothing: only its jumps lead on.
    Fork,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Backslash,
    Closed,
    Open,
    Range(char, char),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Backslash => f.write_str("a `\\` at the end, with nothing to escape"),
            Self::Closed => f.write_str("a `}` without `{` (write `[}]` for the character)"),
            Self::Open => f.write_str("a `{` without `}` (write `[{]` for the character)"),
            Self::Range(first, last) => write!(f, "the range `{first}-{last}` runs backwards"),
        }
    }
}

impl Glob {
    /// Reads a pattern that applies to whole paths.
    pub(super) fn parse(pattern: &str) -> Result<Self, Fault> {
        let mut parser = Parser::new(pattern);
        while let Some(c) = parser.bump() {
            match c {
                '?' => parser.push(Token::Other, Step::Set(ByteSet::all_but_slash())),
                '*' => parser.star(),
                '[' if !parser.unclosed => parser.class()?,
                '{' => parser.open(),
                '}' => parser.close()?,
                ',' if !parser.groups.is_empty() => parser.branch(),
                '\\' => {
                    let c = parser.bump().ok_or(Fault::Backslash)?;
                    parser.literal(c);
                }
                c => parser.literal(c),
            }
        }
        if !parser.groups.is_empty() {
            return Err(Fault::Open);
        }
        let mut glob = parser.glob;
        // Folders alone, without a name below them, mean everything.
        if !glob.braces && glob.steps == [Step::Fork, Step::Descend] {
            return Ok(Self { steps: vec![Step::Anything], jumps: vec![(0, 1)], braces: false });
        }
        // A matcher follows them in one pass, which takes that none leads to a step whose jumps were followed before.
        glob.jumps.sort_unstable();
        debug_assert!(glob.jumps.iter().all(|(from, to)| from < to));
        Ok(glob)
    }

    /// Returns the bytes that this takes, if it can take nothing else, and whether they may stand in any folder.
    pub(super) fn as_literal(&self) -> Option<(Vec<u8>, bool)> {
        let (steps, anywhere) = match &self.steps[..] {
            [Step::Fork, Step::Descend, name @ ..] if !name.is_empty() => (name, true),
            steps => (steps, false),
        };
        let bytes: Option<Vec<u8>> =
            steps.iter().map(|step| if let Step::Byte(byte) = step { Some(*byte) } else { None }).collect();
        bytes.filter(|bytes| !(anywhere && bytes.contains(&b'/'))).map(|bytes| (bytes, anywhere))
    }
}

/// A set of bytes. Patterns speak of bytes, as those of git do: `?` takes a part of `ä`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    fn all_but_slash() -> Self {
        let mut set = Self::default();
        set.insert(b'/');
        set.inverted()
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Inserts a range of characters, whose bytes but the two in the middle stand for themselves.
    fn insert_range(&mut self, first: char, last: char) {
        let (mut space, mut other) = ([0; 4], [0; 4]);
        let first_bytes = first.encode_utf8(&mut space).as_bytes();
        let last_bytes = last.encode_utf8(&mut other).as_bytes();
        first_bytes.iter().for_each(|byte| self.insert(*byte));
        if first != last {
            last_bytes.iter().for_each(|byte| self.insert(*byte));
            (first_bytes[first_bytes.len() - 1]..=last_bytes[0]).for_each(|byte| self.insert(byte));
        }
    }

    fn inverted(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

struct Parser<'p> {
    rest: std::str::Chars<'p>,
    previous: Option<char>,
    current: Option<char>,
    glob: Glob,
    /// The braces that are open, the innermost last.
    groups: Vec<Group>,
    /// What the branch that is read ended with so far, and at which step that begins.
    last: Option<(Token, usize)>,
    /// A `[` was met that nothing closes; so no later one is closed either.
    unclosed: bool,
}

/// Braces that are open.
struct Group {
    fork: usize,
    /// Where the branch that is read begins.
    start: usize,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Star,
    /// `**/` where a pattern or a branch begins.
    DeepFirst,
    /// `/**/`.
    DeepBetween,
    /// `/**` where a branch ends.
    DeepLast,
    Other,
}

impl<'p> Parser<'p> {
    fn new(pattern: &'p str) -> Self {
        Self {
            rest: pattern.chars(),
            previous: None,
            current: None,
            glob: Glob::default(),
            groups: Vec::new(),
            last: None,
            unclosed: false,
        }
    }

    fn bump(&mut self) -> Option<char> {
        self.previous = self.current;
        self.current = self.rest.next();
        self.current
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn here(&self) -> usize {
        self.glob.steps.len()
    }

    fn push(&mut self, token: Token, step: Step) {
        self.last = Some((token, self.here()));
        self.glob.steps.push(step);
    }

    fn literal(&mut self, c: char) {
        self.last = Some((Token::Other, self.here()));
        self.glob.steps.extend(c.encode_utf8(&mut [0; 4]).bytes().map(Step::Byte));
    }

    /// Pushes a step that may take nothing.
    fn push_skippable(&mut self, step: Step) {
        let here = self.here();
        self.glob.jumps.push((here, here + 1));
        self.glob.steps.push(step);
    }

    fn star(&mut self) {
        let previous = self.previous;
        if self.peek() != Some('*') {
            return self.single_star();
        }
        self.bump();
        let Some((last, start)) = self.last else {
            if self.peek().is_none_or(|c| c == '/') {
                self.bump();
                self.last = Some((Token::DeepFirst, self.here()));
                return self.descend();
            }
            return self.single_star();
        };
        // An escaped `,` or `{` counts as well, and is then taken for the `/` that should stand there.
        let may_be_deep = match previous {
            Some('/') => true,
            Some(',' | '{') => !self.groups.is_empty(),
            _ => false,
        };
        let ends = match self.peek() {
            _ if !may_be_deep => return self.single_star(),
            None => true,
            Some(',' | '}') if !self.groups.is_empty() => true,
            Some('/') => {
                self.bump();
                false
            }
            Some(_) => return self.single_star(),
        };
        if matches!(last, Token::DeepFirst | Token::DeepLast) {
            return;
        }
        self.glob.steps.truncate(start);
        self.glob.jumps.retain(|(from, _)| *from < start);
        self.glob.steps.push(Step::Byte(b'/'));
        if ends {
            self.push_skippable(Step::Anything);
            self.last = Some((Token::DeepLast, start));
        } else {
            self.descend();
            self.last = Some((Token::DeepBetween, start));
        }
    }

    /// Two that follow each other are one.
    fn single_star(&mut self) {
        if !matches!(self.last, Some((Token::Star, _))) {
            self.last = Some((Token::Star, self.here()));
            self.push_skippable(Step::Star);
        }
    }

    fn descend(&mut self) {
        let here = self.here();
        self.glob.jumps.extend([(here, here + 1), (here, here + 2)]);
        self.glob.steps.extend([Step::Fork, Step::Descend]);
    }

    fn class(&mut self) -> Result<(), Fault> {
        let saved = (self.rest.clone(), self.previous, self.current);
        let negated = matches!(self.peek(), Some('!' | '^'));
        if negated {
            self.bump();
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        let mut in_range = false;
        loop {
            let Some(c) = self.bump() else {
                (self.rest, self.previous, self.current) = saved;
                self.unclosed = true;
                self.literal('[');
                return Ok(());
            };
            match (c, ranges.last_mut()) {
                (']', Some(_)) => break,
                ('-', Some(_)) if !in_range => in_range = true,
                (last, Some(range)) if in_range => {
                    in_range = false;
                    range.1 = last;
                    if last < range.0 {
                        return Err(Fault::Range(range.0, last));
                    }
                }
                (c, _) => ranges.push((c, c)),
            }
        }
        let mut set = ByteSet::default();
        if in_range {
            set.insert(b'-');
        }
        for (first, last) in ranges {
            set.insert_range(first, last);
        }
        self.push(Token::Other, Step::Set(if negated { set.inverted() } else { set }));
        Ok(())
    }

    fn open(&mut self) {
        let fork = self.here();
        self.glob.steps.push(Step::Fork);
        self.glob.braces = true;
        self.groups.push(Group { fork, start: fork + 1, starts: Vec::new(), ends: Vec::new() });
        self.last = None;
    }

    /// Ends a branch of the innermost braces, and begins the next one.
    fn branch(&mut self) {
        let here = self.here();
        let Some(group) = self.groups.last_mut() else { return };
        // One that is empty is left out: `{,a}` takes only `a`.
        if group.start < here {
            group.starts.push(group.start);
            group.ends.push(here);
            self.glob.steps.push(Step::Fork);
        }
        group.start = self.glob.steps.len();
        self.last = None;
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.branch();
        let group = self.groups.pop().ok_or(Fault::Closed)?;
        if group.starts.is_empty() {
            self.glob.steps.truncate(group.fork);
        }
        let here = self.here();
        self.glob.jumps.extend(group.starts.iter().map(|start| (group.fork, *start)));
        self.glob.jumps.extend(group.ends.iter().map(|end| (*end, here)));
        self.last = Some((Token::Other, group.fork));
        Ok(())
    }
}
