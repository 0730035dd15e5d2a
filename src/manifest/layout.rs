//! Which entries of a directory belong to a namespace, and which are left out.
//!
//! One place for the rules, so that what lint checks and what an archive holds are the same set, and packing what
//! was unpacked changes nothing.

use super::ignored::{Ignored, Patterns};
use crate::document::{Entry, Tree};

/// The entries of a tree, sorted by what they are to a namespace.
///
/// Left out without a word: names that begin with a dot at any depth, other files at the root, files in the two
/// folders that do not end in `.toml`, other folders, and whatever `.exdignore` matches.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::Layout};
/// let tree: Tree = [("flags/a.toml", ""), ("flags/notes.md", ""), ("README.md", "")].into_iter().collect();
/// let layout = Layout::of(&tree);
/// assert_eq!(layout.flags[0].stem, "a");
/// assert_eq!(layout.flags.len(), 1);
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Layout<'t> {
    /// `namespace.toml`, if it is there.
    pub namespace: Option<&'t Entry>,
    /// `gate.toml`, if it is there.
    pub gate: Option<&'t Entry>,
    /// `flags/*.toml`, in byte order.
    pub flags: Vec<Found<'t>>,
    /// `segments/*.toml`, in byte order.
    pub segments: Vec<Found<'t>>,
    /// Symbolic links, wherever they are.
    pub links: Vec<&'t str>,
    /// Directories inside the two folders.
    pub subdirectories: Vec<&'t str>,
    /// Directories that could not be listed, with the reason.
    pub unreadable: Vec<(&'t str, &'t str)>,
    /// Whether there is a `flags` folder.
    pub flags_folder: bool,
    /// What is wrong with `.exdignore`, if something is: its other lines apply.
    pub ignore_problem: Option<String>,
}

/// A file of a namespace.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Found<'t> {
    /// Its path from the root.
    pub path: &'t str,
    /// Its name without `.toml`: the key. Not checked against the key pattern.
    pub stem: &'t str,
    /// What stands there.
    pub entry: &'t Entry,
}

impl<'t> Layout<'t> {
    /// Sorts the entries of `tree`.
    #[must_use]
    pub fn of(tree: &'t Tree) -> Self {
        let mut layout = Layout::default();
        let ignored = layout.read_ignore(tree);
        for (path, entry) in tree.iter() {
            // A source of another's making may name entries that no directory has, such as `//x`; patterns are not
            // made for those.
            if path.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
                continue;
            }
            let directory = matches!(entry, Entry::Directory);
            if ignored.holds(path, directory) {
                continue;
            }
            layout.sort(path, entry);
        }
        layout
    }

    /// Returns the files that an archive of this namespace holds.
    #[must_use]
    pub fn packaged(&self) -> Tree {
        let mut tree = Tree::new();
        for (path, entry) in self.root_files() {
            if let Entry::File(_) = entry {
                tree.insert(path, entry.clone());
            }
        }
        for found in self.flags.iter().chain(&self.segments) {
            if let Entry::File(_) = found.entry {
                tree.insert(found.path, found.entry.clone());
            }
        }
        tree
    }

    /// Returns what stands at the paths of the files that are not in a folder.
    pub(crate) fn root_files(&self) -> impl Iterator<Item = (&'static str, &'t Entry)> {
        let namespace = self.namespace.map(|entry| (NAMESPACE_FILE, entry));
        namespace.into_iter().chain(self.gate.map(|entry| (GATE_FILE, entry)))
    }

    fn sort(&mut self, path: &'t str, entry: &'t Entry) {
        if matches!(entry, Entry::Symlink) {
            self.links.push(path);
            return;
        }
        let (folder, name) = match path.split_once('/') {
            None => return self.sort_root(path, entry),
            Some(parts) => parts,
        };
        let files = match folder {
            "flags" => {
                self.flags_folder = true;
                &mut self.flags
            }
            "segments" => &mut self.segments,
            _ => return,
        };
        if let Entry::Unreadable(reason) = entry
            && !name.ends_with(".toml")
        {
            self.unreadable.push((path, reason));
            return;
        }
        match name.split_once('/') {
            // A tree made of an archive lists files only, so a directory shows by what it holds.
            Some((subdirectory, _)) => {
                let end = folder.len() + 1 + subdirectory.len();
                self.note_subdirectory(&path[..end]);
            }
            None if matches!(entry, Entry::Directory) => self.note_subdirectory(path),
            None => {
                if let Some(stem) = name.strip_suffix(".toml") {
                    files.push(Found { path, stem, entry });
                }
            }
        }
    }

    fn sort_root(&mut self, path: &'t str, entry: &'t Entry) {
        match (path, entry) {
            (NAMESPACE_FILE, _) => self.namespace = Some(entry),
            (GATE_FILE, _) => self.gate = Some(entry),
            ("flags", Entry::Directory) => self.flags_folder = true,
            ("flags" | "segments", Entry::Unreadable(reason)) => {
                self.flags_folder |= path == "flags";
                self.unreadable.push((path, reason));
            }
            _ => {}
        }
    }

    fn note_subdirectory(&mut self, path: &'t str) {
        if self.subdirectories.last() != Some(&path) {
            self.subdirectories.push(path);
        }
    }

    fn read_ignore(&mut self, tree: &Tree) -> Ignored {
        let mut patterns = Patterns::default();
        match tree.get(IGNORE_FILE) {
            None => {}
            Some(Entry::File(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) if text.len() <= IGNORE_LIMIT => {
                    for (number, line) in (1..).zip(text.lines()) {
                        if let Err(problem) = patterns.add(line) {
                            self.ignore_problem.get_or_insert_with(|| format!("line {number}: {problem}"));
                        }
                    }
                }
                Ok(_) => self.ignore_problem = Some(format!("larger than {IGNORE_LIMIT} bytes")),
                Err(_) => self.ignore_problem = Some("not UTF-8".to_owned()),
            },
            Some(Entry::TooLarge { .. }) => {
                self.ignore_problem = Some(format!("larger than {IGNORE_LIMIT} bytes"))
            }
            Some(Entry::Unreadable(reason)) => self.ignore_problem = Some(reason.clone()),
            Some(_) => self.ignore_problem = Some("not a regular file".to_owned()),
        }
        patterns.build()
    }
}

/// The file of patterns, in the gitignore dialect (M10).
const IGNORE_FILE: &str = ".exdignore";
/// What is said of the namespace as a whole.
pub(crate) const NAMESPACE_FILE: &str = "namespace.toml";
/// Reflex rules. Control planes read them; those who evaluate flags do not need them.
pub(crate) const GATE_FILE: &str = "gate.toml";
/// The signature over the files; not one of them.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::manifest::SIGNATURE_FILE, "leverframe.sig");
/// ```
pub const SIGNATURE_FILE: &str = "leverframe.sig";

/// Returns true for names of files whose content a namespace may need, wherever they stand.
pub(crate) fn needs_content(name: &str) -> bool {
    name == IGNORE_FILE || name == SIGNATURE_FILE || name.ends_with(".toml") && !name.starts_with('.')
}
/// Paths are held against all patterns, so their number is bounded like everything that comes from outside.
const IGNORE_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn stems(tree: &Tree) -> Vec<&str> {
        Layout::of(tree).flags.iter().map(|f| f.stem).collect()
    }

    #[test]
    fn only_toml_files_directly_in_the_two_folders_count() {
        let mut tree: Tree = [
            ("flags/a.toml", ""),
            ("flags/a.md", ""),
            ("flags/.hidden.toml", ""),
            ("flags/old/b.toml", ""),
            ("docs/c.toml", ""),
            (".git/flags/d.toml", ""),
            ("segments/s.toml", ""),
            ("gate.toml", ""),
            ("other.toml", ""),
        ]
        .into_iter()
        .collect();
        tree.insert("flags/empty", Entry::Directory);
        tree.insert("current", Entry::Symlink);

        let layout = Layout::of(&tree);

        assert_eq!(layout.flags.iter().map(|f| f.path).collect::<Vec<_>>(), ["flags/a.toml"]);
        assert_eq!(layout.segments.len(), 1);
        assert_eq!(layout.subdirectories, ["flags/empty", "flags/old"]);
        assert_eq!(layout.links, ["current"]);
        assert!(layout.gate.is_some() && layout.namespace.is_none());
        let packaged = layout.packaged();
        assert_eq!(
            packaged.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            ["flags/a.toml", "gate.toml", "segments/s.toml"]
        );
        assert!(layout.flags_folder);
    }

    #[test]
    fn exdignore_speaks_the_gitignore_dialect() {
        let tree: Tree = [
            (".exdignore", "# drafts\ndraft-*.toml\n!draft-keep.toml\n/flags/local.toml\nsegments/\n"),
            ("flags/a.toml", ""),
            ("flags/draft-x.toml", ""),
            ("flags/draft-keep.toml", ""),
            ("flags/local.toml", ""),
            ("segments/s.toml", ""),
        ]
        .into_iter()
        .collect();

        assert_eq!(stems(&tree), ["a", "draft-keep"]);
        assert!(Layout::of(&tree).segments.is_empty());
    }

    #[test]
    fn a_pattern_of_thousands_of_braces_is_refused_and_the_others_apply() {
        let deep = format!("{}a{}\nb.toml\n", "{".repeat(30_000), "}".repeat(30_000));
        let tree: Tree =
            [(".exdignore", deep), ("flags/a.toml", String::new()), ("flags/b.toml", String::new())]
                .into_iter()
                .collect();

        assert_eq!(stems(&tree), ["a"]);
        assert!(Layout::of(&tree).ignore_problem.unwrap().starts_with("line 1: longer"));
    }

    #[test]
    fn paths_that_no_directory_has_are_left_out() {
        let tree: Tree = [(".exdignore", "b.toml"), ("//x", ""), ("flags//a.toml", ""), ("flags/c.toml", "")]
            .into_iter()
            .collect();

        assert_eq!(stems(&tree), ["c"]);
    }

    #[test]
    fn a_broken_pattern_is_told_and_the_others_apply() {
        let tree: Tree = [(".exdignore", "b.toml\na{b\n"), ("flags/a.toml", ""), ("flags/b.toml", "")]
            .into_iter()
            .collect();

        assert_eq!(stems(&tree), ["a"]);
        assert!(Layout::of(&tree).ignore_problem.unwrap().starts_with("line 2"));
    }
}
