//! The fingerprint of files that change one by one.
//!
//! The fingerprint (M11) is one digest over a line a file, so whatever follows a changed line is digested again. The
//! lines are kept, and so is the state of the digest every few lines: what goes before the change is not.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::manifest::Fingerprint;

/// Lines between two kept states.
const STRIDE: usize = 64;

/// The lines of a fingerprint, and its states on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    strides: Vec<Stride>,
}

#[derive(Clone, Debug)]
struct Stride {
    /// The state before the first of the lines.
    before: Sha256,
    lines: Arc<Lines>,
}

#[derive(Clone, Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// Where each line begins.
    starts: Vec<u32>,
}

impl Digests {
    /// Takes the lines of files in byte order of their paths.
    pub(super) fn of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut digests = Self::default();
        let mut lines = Lines::default();
        for (path, content) in files {
            if lines.starts.len() == STRIDE {
                digests.append(std::mem::take(&mut lines));
            }
            lines.insert(lines.starts.len(), path, content);
        }
        digests.append(lines);
        digests.digest_from(0);
        digests
    }

    /// Takes changes over: the new content by path, `None` for what is gone.
    pub(super) fn apply<'a>(&mut self, changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) {
        let mut first = usize::MAX;
        for (path, content) in changes {
            first = first.min(self.change(path, content));
        }
        self.digest_from(first);
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut whole = Sha256::new();
        if let Some(last) = self.strides.last() {
            whole = last.before.clone();
            whole.update(&last.lines.text);
        }
        Fingerprint::from_digest(&whole.finalize())
    }

    /// Changes one line and returns the first stride whose lines are others.
    fn change(&mut self, path: &str, content: Option<&[u8]>) -> usize {
        if self.strides.is_empty() {
            self.append(Lines::default());
        }
        let after = self.strides.partition_point(|stride| stride.lines.first() <= path.as_bytes());
        let index = after.saturating_sub(1);
        let lines = Arc::make_mut(&mut self.strides[index].lines);
        let place = lines.place(path);
        if let Ok(at) = place {
            lines.remove(at);
        }
        if let Some(content) = content {
            lines.insert(place.unwrap_or_else(|at| at), path, content);
        }
        if lines.starts.len() > 2 * STRIDE {
            let rest = Arc::new(lines.split_off(STRIDE));
            let before = self.strides[index].before.clone();
            self.strides.insert(index + 1, Stride { before, lines: rest });
        } else if lines.starts.is_empty() {
            self.strides.remove(index);
        }
        index
    }

    fn append(&mut self, lines: Lines) {
        self.strides.push(Stride { before: Sha256::new(), lines: Arc::new(lines) });
    }

    /// Computes the states from the one that follows `first` on; that of `first` itself stands.
    fn digest_from(&mut self, first: usize) {
        let mut state = match first.checked_sub(1).and_then(|before| self.strides.get(before)) {
            _ if first >= self.strides.len() => return,
            Some(stride) => {
                let mut state = stride.before.clone();
                state.update(&stride.lines.text);
                state
            }
            None => Sha256::new(),
        };
        for stride in &mut self.strides[first..] {
            stride.before = state.clone();
            state.update(&stride.lines.text);
        }
    }
}

impl Lines {
    fn first(&self) -> &[u8] {
        self.starts.first().map_or(b"", |start| self.path_from(*start))
    }

    /// Returns the path of the line that begins there.
    fn path_from(&self, start: u32) -> &[u8] {
        let line = &self.text[start as usize..];
        &line[..line.iter().position(|byte| *byte == 0).unwrap_or(line.len())]
    }

    fn place(&self, path: &str) -> Result<usize, usize> {
        self.starts.binary_search_by(|start| self.path_from(*start).cmp(path.as_bytes()))
    }

    fn insert(&mut self, at: usize, path: &str, content: &[u8]) {
        let start = self.starts.get(at).map_or(self.text.len(), |start| *start as usize);
        let line = Fingerprint::line(path, content);
        self.text.splice(start..start, line.bytes());
        for later in &mut self.starts[at..] {
            *later += line.len() as u32;
        }
        self.starts.insert(at, start as u32);
    }

    fn remove(&mut self, at: usize) {
        let start = self.starts.remove(at);
        let end = self.starts.get(at).map_or(self.text.len(), |end| *end as usize);
        self.text.drain(start as usize..end);
        for later in &mut self.starts[at..] {
            *later -= end as u32 - start;
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let start = self.starts[at];
        let text = self.text.split_off(start as usize);
        let starts = self.starts.split_off(at).into_iter().map(|later| later - start).collect();
        Self { text, starts }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{Entry, Tree};

    /// Enough for a dozen strides, and for some to be split and some to be emptied.
    const PATHS: u16 = 900;

    /// Neighbours in number are neighbours in byte order for the most part, so that a run of edits meets one stride.
    fn path(number: u16) -> String {
        match number {
            0 => "namespace.toml".to_owned(),
            1..700 => {
                format!("flags/f{:03}{}.toml", number / 2, if number.is_multiple_of(2) { "" } else { "-b" })
            }
            _ => format!("segments/s{number}.toml"),
        }
    }

    fn digests_of(tree: &Tree) -> Digests {
        Digests::of(tree.iter().filter_map(|(path, entry)| match entry {
            Entry::File(content) => Some((path, &content[..])),
            _ => None,
        }))
    }

    /// Changes: where, how many neighbours, the content or nothing.
    fn change() -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        // From the first line on as well: a stride that goes with all its lines is followed by one whose state was made
        // of them, and where another goes before, that one is digested again in any case.
        let from = prop_oneof![1 => Just(0), 4 => 0..PATHS];
        let run =
            (from, prop_oneof![2 => 1u16..4, 1 => 60u16..300], prop::option::weighted(0.6, any::<u8>()));
        prop::collection::vec(run, 1..4).prop_map(|runs| {
            let numbers = |(from, many, content): (u16, u16, Option<u8>)| {
                (from..(from + many).min(PATHS)).map(move |number| (number, content))
            };
            runs.into_iter().flat_map(numbers).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn digests_that_change_are_those_of_the_whole_and_their_copies_stay(
            there in prop::collection::btree_set(0..PATHS, 0..usize::from(PATHS)),
            changes in prop::collection::vec(change(), 1..12),
        ) {
            let mut tree: Tree = there.into_iter().map(|number| (path(number), number.to_string())).collect();
            let mut digests = digests_of(&tree);
            prop_assert_eq!(digests.fingerprint(), Fingerprint::of(&tree));
            for change in changes {
                let (copy, before) = (digests.clone(), Fingerprint::of(&tree));
                let change: Vec<(String, Option<Vec<u8>>)> = change
                    .into_iter()
                    .map(|(number, content)| (path(number), content.map(|byte| vec![byte])))
                    .collect();
                digests.apply(change.iter().map(|(path, content)| (path.as_str(), content.as_deref())));
                for (path, content) in change {
                    tree.remove(&path);
                    if let Some(content) = content {
                        tree.insert(path, Entry::File(content.into()));
                    }
                }
                prop_assert_eq!(digests.fingerprint(), Fingerprint::of(&tree));
                prop_assert_eq!(copy.fingerprint(), before);
                let mut state = Sha256::new();
                for stride in &digests.strides {
                    prop_assert_eq!(stride.before.clone().finalize(), state.clone().finalize());
                    prop_assert!((1..=2 * STRIDE).contains(&stride.lines.starts.len()) || digests.strides.len() == 1);
                    state.update(&stride.lines.text);
                }
            }
        }
    }
}
