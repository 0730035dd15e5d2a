//! Which paths an ignore file leaves out: the gitignore dialect (M10).
//!
//! All patterns are followed at once while a path is read once, so that time is bounded by the length of the path
//! times the length of the patterns, whatever they are. Nothing here recurses.

use std::collections::HashMap;

use self::glob::{Glob, Step};

mod glob;
#[cfg(test)]
mod oracle;

/// The patterns of an ignore file, line by line.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    rules: Vec<Rule>,
    /// Rules that name one path, and those that name a file or folder wherever it stands.
    paths: HashMap<Vec<u8>, Latest>,
    names: HashMap<Vec<u8>, Latest>,
    globs: Vec<(usize, Glob)>,
    /// Steps and jumps of alternatives so far.
    steps: usize,
    jumps: usize,
}

/// The patterns of a whole ignore file, ready for paths.
#[derive(Debug)]
pub(super) struct Ignored {
    rules: Vec<Rule>,
    paths: HashMap<Vec<u8>, Latest>,
    names: HashMap<Vec<u8>, Latest>,
    automaton: Automaton,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    negated: bool,
    directories_only: bool,
}

/// The last of several rules with equal names, and the last of those that are not for directories only.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    any: Option<usize>,
    file: Option<usize>,
}

impl Patterns {
    /// Adds a line.
    ///
    /// # Errors
    /// What is wrong with it; the other lines apply.
    pub(super) fn add(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with('#') {
            return Ok(());
        }
        if line.len() > PATTERN_LIMIT {
            return Err(format!("longer than {PATTERN_LIMIT} bytes"));
        }
        // A space at the end counts only if it is escaped.
        let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
        if line.is_empty() {
            return Ok(());
        }
        let mut pattern = line;
        let mut rule = Rule { negated: false, directories_only: false };
        let mut anchored = false;
        if line.starts_with("\\!") || line.starts_with("\\#") {
            pattern = &line[1..];
        } else {
            if let Some(rest) = pattern.strip_prefix('!') {
                rule.negated = true;
                pattern = rest;
            }
            if let Some(rest) = pattern.strip_prefix('/') {
                anchored = true;
                pattern = rest;
            }
        }
        if let Some(rest) = pattern.strip_suffix('/') {
            rule.directories_only = true;
            pattern = rest.strip_suffix('\\').unwrap_or(rest);
        }
        let anywhere = !anchored && !pattern.contains('/') && pattern != "**";
        let mut whole = if anywhere { format!("**/{pattern}") } else { pattern.to_owned() };
        if whole.ends_with("/**") {
            // What is in the folder, not the folder itself.
            whole.push_str("/*");
        }
        let glob = Glob::parse(&whole).map_err(|fault| format!("`{}`: {fault}", line.escape_debug()))?;
        self.insert(rule, glob)
    }

    /// Makes them ready for paths.
    pub(super) fn build(self) -> Ignored {
        let Self { rules, paths, names, globs, .. } = self;
        let automaton = Automaton::new(&globs, &rules);
        Ignored { rules, paths, names, automaton }
    }

    fn insert(&mut self, rule: Rule, glob: Glob) -> Result<(), String> {
        let number = self.rules.len();
        if let Some((name, anywhere)) = glob.as_literal() {
            let literals = if anywhere { &mut self.names } else { &mut self.paths };
            let latest = literals.entry(name).or_default();
            latest.any = Some(number);
            if !rule.directories_only {
                latest.file = Some(number);
            }
        } else {
            let steps = self.steps + glob.steps.len() + 1;
            let jumps = self.jumps + if glob.braces { glob.jumps.len() } else { 0 };
            if jumps > JUMP_LIMIT {
                return Err("too many alternatives in braces".to_owned());
            }
            if steps > STEP_LIMIT {
                return Err("too many patterns with wildcards".to_owned());
            }
            (self.steps, self.jumps) = (steps, jumps);
            self.globs.push((number, glob));
        }
        self.rules.push(rule);
        Ok(())
    }
}

impl Ignored {
    /// Returns whether a path, or a folder that it stands in, is left out.
    ///
    /// The last rule that applies decides; one for the path itself before those for the folders, the nearest first.
    pub(super) fn holds(&self, path: &str, directory: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let path = path.as_bytes();
        let mut state = self.automaton.start.clone();
        let mut name = 0;
        // The root is a folder as well.
        let mut found = self.last_rule(&state, b"", b"", true);
        for (at, byte) in path.iter().enumerate() {
            if *byte == b'/' {
                found = self.last_rule(&state, &path[..at], &path[name..at], true).or(found);
                name = at + 1;
            }
            self.automaton.step(&mut state, *byte);
        }
        found = self.last_rule(&state, path, &path[name..], directory).or(found);
        found.is_some_and(|number| !self.rules[number].negated)
    }

    fn last_rule(&self, state: &[u64], path: &[u8], name: &[u8], directory: bool) -> Option<usize> {
        let latest = |literals: &HashMap<Vec<u8>, Latest>, key: &[u8]| {
            let latest = literals.get(key)?;
            if directory { latest.any } else { latest.file }
        };
        let literal = latest(&self.paths, path).max(latest(&self.names, name));
        literal.max(self.automaton.last_accepted(state, directory))
    }
}

/// All patterns side by side: a bit stands for a step of one of them, and the state is the set of steps where they are.
#[derive(Debug, Default)]
struct Automaton {
    words: Vec<Word>,
    /// For each byte, the steps that take it and go on.
    advance: Vec<u64>,
    start: Vec<u64>,
    /// Where patterns end, ascending, and their rules.
    ends: Vec<(usize, usize)>,
    /// Of patterns with alternatives, ascending.
    jumps: Vec<(usize, usize)>,
}

/// Sixty-four steps.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// Stay where they are for bytes other than `/`, and for all.
    star: u64,
    anything: u64,
    /// Lead to the next step, and to the next two, without a byte.
    skip: u64,
    fork: u64,
    /// Are the ends of rules, and of those that are not for directories only.
    end: u64,
    file_end: u64,
}

impl Automaton {
    fn new(globs: &[(usize, Glob)], rules: &[Rule]) -> Self {
        // Each has a last bit for having come to its end.
        let bits: usize = globs.iter().map(|(_, glob)| glob.steps.len() + 1).sum();
        let count = bits.div_ceil(64);
        let mut automaton = Self {
            words: vec![Word::default(); count],
            advance: vec![0; count * 256],
            start: vec![0; count],
            ..Self::default()
        };
        let mut base = 0;
        for (number, glob) in globs {
            automaton.start[base / 64] |= 1 << (base % 64);
            for (at, step) in (base..).zip(&glob.steps) {
                automaton.place(at, step, glob.braces);
            }
            if glob.braces {
                automaton.jumps.extend(glob.jumps.iter().map(|(from, to)| (base + from, base + to)));
            }
            base += glob.steps.len();
            automaton.ends.push((base, *number));
            let (word, bit) = (&mut automaton.words[base / 64], 1 << (base % 64));
            word.end |= bit;
            if !rules[*number].directories_only {
                word.file_end |= bit;
            }
            base += 1;
        }
        let mut start = std::mem::take(&mut automaton.start);
        automaton.settle(&mut start);
        automaton.start = start;
        automaton
    }

    fn place(&mut self, at: usize, step: &Step, braces: bool) {
        let count = self.words.len();
        let (index, bit) = (at / 64, 1 << (at % 64));
        let word = &mut self.words[index];
        match step {
            Step::Byte(byte) => self.advance[usize::from(*byte) * count + index] |= bit,
            Step::Set(set) => {
                for byte in (0..=u8::MAX).filter(|byte| set.contains(*byte)) {
                    self.advance[usize::from(byte) * count + index] |= bit;
                }
            }
            Step::Star => word.star |= bit,
            Step::Anything => word.anything |= bit,
            Step::Descend => {
                word.anything |= bit;
                self.advance[usize::from(b'/') * count + index] |= bit;
            }
            Step::Fork => {}
        }
        // The jumps of the others are a list, because they lead anywhere.
        if !braces {
            match step {
                Step::Star | Step::Anything => word.skip |= bit,
                Step::Fork => word.fork |= bit,
                Step::Byte(_) | Step::Set(_) | Step::Descend => {}
            }
        }
    }

    /// Takes one byte.
    fn step(&self, state: &mut [u64], byte: u8) {
        let count = self.words.len();
        let advance = &self.advance[usize::from(byte) * count..][..count];
        let mut carry = 0;
        for ((now, word), advance) in state.iter_mut().zip(&self.words).zip(advance) {
            let stay = if byte == b'/' { word.anything } else { word.anything | word.star };
            let moved = *now & advance;
            *now = (*now & stay) | moved << 1 | carry;
            carry = moved >> 63;
        }
        self.settle(state);
    }

    /// Adds the steps that are reached without a byte.
    fn settle(&self, state: &mut [u64]) {
        let (mut fork_carry, mut skip_carry) = (0, 0);
        for (now, word) in state.iter_mut().zip(&self.words) {
            // Once each is enough: a fork is never reached by a fork or a skip, nor a skip by a skip.
            *now |= fork_carry;
            let forked = *now & word.fork;
            *now |= forked << 1 | forked << 2 | skip_carry;
            let skipped = *now & word.skip;
            *now |= skipped << 1;
            fork_carry = forked >> 63 | forked >> 62;
            skip_carry = skipped >> 63;
        }
        for (from, to) in &self.jumps {
            if state[from / 64] & (1 << (from % 64)) != 0 {
                state[to / 64] |= 1 << (to % 64);
            }
        }
    }

    fn last_accepted(&self, state: &[u64], directory: bool) -> Option<usize> {
        let (index, ends) = state
            .iter()
            .zip(&self.words)
            .map(|(now, word)| now & if directory { word.end } else { word.file_end })
            .enumerate()
            .rfind(|(_, ends)| *ends != 0)?;
        let last = index * 64 + 63 - ends.leading_zeros() as usize;
        let end = self.ends.binary_search_by_key(&last, |(bit, _)| *bit).ok()?;
        Some(self.ends[end].1)
    }
}

/// Patterns are followed side by side, so their length is bounded like everything that comes from outside.
const PATTERN_LIMIT: usize = 512;
/// Steps of all patterns that are no plain names: sixty-four are one operation for each byte of each path, so that not
/// even 20,000 paths of the greatest length take minutes.
const STEP_LIMIT: usize = 64 * 1024;
/// Jumps of alternatives in all, which are looked at one by one for each byte of a path.
const JUMP_LIMIT: usize = 1_024;
