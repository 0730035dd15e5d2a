//! Trees of files as one text, which a person can write and a fuzzer can change.

use leverframe::document::{Entry, Tree};

/// Reads files, each behind a line `=== <path>`; without such a line, all of it is one flag's file.
///
/// A path that ends in `/` is a directory, one that ends in `@` a link; what is no UTF-8 in a path is replaced.
pub(crate) fn tree(data: &[u8]) -> Tree {
    let mut tree = Tree::new();
    let mut path = None::<String>;
    let mut content = Vec::new();
    for line in data.split_inclusive(|b| *b == b'\n') {
        match line.strip_prefix(b"=== ") {
            Some(next) => {
                insert(&mut tree, path.as_deref(), &mut content);
                path = Some(String::from_utf8_lossy(next).trim_end().to_owned());
            }
            None => content.extend_from_slice(line),
        }
    }
    insert(&mut tree, Some(path.as_deref().unwrap_or("flags/a.toml")), &mut content);
    tree
}

fn insert(tree: &mut Tree, path: Option<&str>, content: &mut Vec<u8>) {
    let content = std::mem::take(content);
    let Some(path) = path else { return };
    if let Some(path) = path.strip_suffix('/') {
        tree.insert(path, Entry::Directory);
    } else if let Some(path) = path.strip_suffix('@') {
        tree.insert(path, Entry::Symlink);
    } else {
        tree.insert(path, Entry::File(content.into()));
    }
}
