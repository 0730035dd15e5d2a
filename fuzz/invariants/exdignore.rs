//! `.exdignore`.

use leverframe::{
    document::{Entry, Tree},
    manifest::{Layout, archive},
};

const PATHS: [&str; 9] = [
    "README.md",
    "flags/Ä b.toml",
    "flags/a.toml",
    "flags/draft-1.toml",
    "flags/old/c.toml",
    "namespace.toml",
    "segments/[x].toml",
    "segments/a.toml",
    "segments/s.toml",
];

/// Patterns only ever leave out, comments change nothing, a last line that takes everything does so, and an archive
/// holds what is left.
pub fn exdignore(data: &[u8]) {
    let whole = tree(None);
    let ignoring = tree(Some(data));

    let all = Layout::of(&whole).packaged();
    let layout = Layout::of(&ignoring);
    let left = layout.packaged();

    assert!(left.iter().all(|(path, entry)| all.get(path) == Some(entry)), "{left:?}");
    let packed = archive::pack(&ignoring).expect("a few files can be packed");
    assert_eq!(archive::unpack(&packed).expect("what was packed can be unpacked").tree, left);

    let commented = [b"# a comment\n\n".as_slice(), data].concat();
    let commented = tree(Some(&commented));
    // Near the limit of the file's size the comment itself makes the difference.
    if data.len() < 60_000 {
        assert_eq!(Layout::of(&commented).packaged(), left);
    }
    if layout.ignore_problem.is_none() && data.len() < 60_000 {
        let everything = [data, b"\n*\n"].concat();
        let nothing = Layout::of(&tree(Some(&everything))).packaged();
        assert_eq!(nothing.iter().count(), 0, "{nothing:?}");
    }
}

fn tree(patterns: Option<&[u8]>) -> Tree {
    let mut tree: Tree = PATHS.map(|path| (path, "x = 1")).into_iter().collect();
    if let Some(patterns) = patterns {
        tree.insert(".exdignore", Entry::File(patterns.to_vec().into()));
    }
    tree
}
