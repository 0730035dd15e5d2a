//! Repositories of this machine, read where they stand.

use super::*;

#[test]
fn every_kind_of_ref_is_read() {
    let flags = Flags::new();
    for (fragment, expected) in refs(&flags) {
        assert_eq!(
            number(&whole(&open(&flags.file_uri(&fragment), &flags.config()))),
            expected,
            "{fragment}"
        );
    }
    let first = format!("#{}:payments", &flags.first[..7]);
    assert_eq!(number(&whole(&open(&flags.file_uri(&first), &flags.config()))), "1");
}

#[test]
fn the_tree_is_what_the_file_source_would_read() {
    let flags = Flags::new();
    let big = "#".repeat(2_000_000);
    std::os::unix::fs::symlink("new-checkout.toml", flags.repository.path().join("payments/flags/link.toml"))
        .unwrap();
    flags.repository.commit(&[
        ("payments/flags/big.toml", &big),
        ("payments/flags/deep/x.toml", ""),
        ("payments/flags/.hidden.toml", ""),
        ("payments/unread/x.toml", ""),
    ]);
    let head = flags.repository.head();
    flags.repository.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{head},payments/flags/sub"),
    ]);
    flags.repository.git(&["commit", "--quiet", "--message", "Add a submodule"]);

    let document = whole(&open(&flags.file_uri("#:payments"), &flags.config()));

    let Content::Tree(tree) = document.content() else { panic!() };
    let shape = |path: &str| tree.get(path).cloned();
    assert_eq!(shape("flags/link.toml"), Some(Entry::Symlink));
    assert_eq!(shape("flags/big.toml"), Some(Entry::TooLarge { bytes: 2_000_000 }));
    assert_eq!(shape("flags/deep"), Some(Entry::Directory));
    assert_eq!(shape("flags/deep/x.toml"), None);
    assert_eq!(shape("flags/sub"), Some(Entry::Special));
    assert_eq!(shape("flags/notes.txt"), Some(Entry::Skipped));
    assert_eq!(shape("flags/.hidden.toml"), None);
    assert_eq!(shape("unread"), Some(Entry::Directory));
    assert_eq!(text(&document, ".exdignore"), "*.bak");
    assert_eq!(text(&document, "segments/us.toml"), "s = 1");
    assert_eq!(document.name(), Some("payments"));

    // Submodules are no files on disk, so that the comparison leaves them out.
    let on_disk = leverframe::sources::file::read_tree(
        &flags.repository.path().join("payments"),
        &leverframe::sources::file::ReadLimits::default(),
    )
    .unwrap();
    for (path, entry) in on_disk.iter() {
        assert_eq!(tree.get(path), Some(entry), "{path}");
    }
}

#[test]
fn only_a_change_of_the_folder_is_a_change() {
    let flags = Flags::new();
    let source = open(&flags.file_uri("#main:payments"), &flags.config());
    let old = whole(&source);

    flags.repository.commit(&[("other/flags/other.toml", "o = 2")]);
    assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
    flags.repository.commit(&[(FLAG, "number = 9")]);

    let Load::Snapshot(new) = load(&source, Some(old.revision())) else { panic!("a change was not brought") };
    assert_eq!(number(&new), "9");
}

#[test]
fn a_branch_that_is_pushed_over_is_a_change() {
    let flags = Flags::new();
    let source = open(&flags.file_uri("#main:payments"), &flags.config());
    let old = whole(&source);

    flags.repository.git(&["reset", "--quiet", "--hard", &flags.first]);

    let Load::Snapshot(new) = load(&source, Some(old.revision())) else { panic!("a change was not brought") };
    assert_eq!(number(&new), "1");
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let flags = Flags::new();
    let error = failure(&open(&flags.file_uri("#mian:payments"), &flags.config()));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint_text(), Some("did you mean `main`?"));
    assert!(error.to_string().contains("light, main, trial, v1"), "{error}");

    let error = failure(&open(&flags.file_uri("#main:paymnts"), &flags.config()));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("folder: paymnts"), "{error}");

    let absent = "1".repeat(40);
    let error = failure(&open(&flags.file_uri(&format!("#{absent}")), &flags.config()));
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let error = failure(&open("git+file:///does/not/exist.git", &flags.config()));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().is_some());

    let empty = Repository::new(&flags.folder("empty"));
    let error = failure(&open(&format!("git+file://{}", empty.path().display()), &flags.config()));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("push a commit"), "{:?}", error.hint_text());
}

struct Place {
    flags: Flags,
    count: usize,
}

impl source::Place for Place {
    fn change(&mut self) {
        self.count += 1;
        self.flags.repository.commit(&[(FLAG, &format!("number = {}", self.count))]);
    }

    fn break_it(&mut self) -> bool {
        fs::rename(self.flags.repository.path(), self.flags.folder("away")).unwrap();
        true
    }

    fn mend(&mut self) {
        fs::rename(self.flags.folder("away"), self.flags.repository.path()).unwrap();
    }

    fn tells(&self) -> bool {
        false
    }
}

fn fixture() -> source::Fixture<GitSource> {
    let flags = Flags::new();
    let source = open(&flags.file_uri("#main:payments"), &flags.config());
    source::Fixture::new(source, Place { flags, count: 100 })
}

leverframe::source_conformance!(git_on_disk, fixture);
