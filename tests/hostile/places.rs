//! Places that are no plain directory of plain files, or do not stay what they are.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use leverframe::{ErrorKind, Namespace, lint_dir, manifest::archive::limits};

use crate::{
    fifo,
    running::{Running, clear, tier, value},
};

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let running = Running::from_directory();

    running.survives(
        "pipe",
        |root| fifo(&root.join("flags/tier.toml")),
        &["E007", "flags/tier.toml", "regular"],
    );
    running.survives(
        "pipe",
        |root| fifo(&root.join("namespace.toml")),
        &["E007", "namespace.toml", "regular"],
    );
    running.survives(
        "ignore file",
        |root| fifo(&root.join(".exdignore")),
        &["E007", ".exdignore", "regular"],
    );
    running.survives(
        "socket",
        |root| drop(UnixListener::bind(root.join("flags/socket.toml")).unwrap()),
        &["E007", "flags/socket.toml", "regular"],
    );
    running.survives(
        "directory",
        |root| {
            clear(&root.join("namespace.toml"));
            fs::create_dir(root.join("namespace.toml")).unwrap();
        },
        &["E007", "namespace.toml", "regular"],
    );
    running.survives(
        "name",
        |root| fs::write(root.join("flags").join(OsStr::from_bytes(b"caf\xe9.toml")), "").unwrap(),
        &["E032", "flags/caf"],
    );
    running.survives(
        "pipe as root",
        |root| {
            clear(root);
            fifo(root);
        },
        &["/shop", "failed to read"],
    );
}

#[test]
fn links_are_refused_by_name_wherever_they_lead() {
    let running = Running::from_directory();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("tier.toml"), tier(99)).unwrap();

    for (case, target) in [
        ("outside", elsewhere.path().join("tier.toml")),
        ("nowhere", "/does/not/exist".into()),
        ("device", "/dev/zero".into()),
        ("itself", "tier.toml".into()),
        ("inside", "../namespace.toml".into()),
    ] {
        running.survives(
            case,
            |root| {
                clear(&root.join("flags/tier.toml"));
                symlink(&target, root.join("flags/tier.toml")).unwrap();
            },
            &["E018", "flags/tier.toml"],
        );
    }
    for (case, target) in
        [("folder to itself", "flags"), ("folder to its parent", "."), ("folder outside", "/")]
    {
        running.survives(
            case,
            |root| {
                clear(&root.join("flags"));
                symlink(target, root.join("flags")).unwrap();
            },
            &["E018", " flags:1:1"],
        );
    }
    running.survives(
        "loop below",
        |root| symlink("../..", root.join("flags/up")).unwrap(),
        &["E018", "flags/up"],
    );
}

#[test]
fn a_root_that_is_gone_or_a_loop_of_links_is_named_with_the_next_step() {
    let running = Running::from_directory();

    running.survives("gone", clear, &["/shop", "failed to read"]);
    running.survives(
        "loop",
        |root| {
            clear(root);
            let other = root.with_file_name("other");
            clear(&other);
            symlink(root, &other).unwrap();
            symlink(&other, root).unwrap();
        },
        &["/shop", "failed to read"],
    );
    running.survives(
        "config map without data",
        |root| symlink("..2026_01_01", root.join("..data")).unwrap(),
        &["..data", "failed to read"],
    );
    running.survives(
        "a file",
        |root| {
            clear(root);
            fs::write(root, "hello").unwrap();
        },
        &["no gzip header"],
    );
    let error = lint_dir(running.place.join("nowhere")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("check the path"));
}

#[test]
fn files_that_may_not_be_read_are_named() {
    let running = Running::from_directory();
    let deny = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();

    deny(&running.tier());
    // The superuser may read everything, and sees the next case instead.
    if File::open(running.tier()).is_err() {
        running.refuses("file", &["E007", "flags/tier.toml", "denied"]);
        running.recovers("file");
        running.survives("folder", |root| deny(&root.join("flags")), &["E007", "flags", "denied"]);
    }
    // Opens like any file, whoever asks, and fails at the first read.
    let error = Namespace::from_archive("/proc/self/mem").unwrap_err();
    assert!(error.to_string().contains("/mem"), "{error}");
    assert!(error.hint().is_some());
    for device in ["/dev/zero", "/dev/null"] {
        let error = Namespace::from_archive(device).unwrap_err();
        assert!(error.to_string().contains(device), "{error}");
        assert!(error.hint().unwrap().contains("regular file"));
    }
}

#[test]
fn files_that_vanish_and_change_while_they_are_read_are_refused_or_whole() {
    let running = Running::from_directory();
    let stop = AtomicBool::new(false);
    let (flags, away) = (running.place.join("flags"), running.place.join("away"));

    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Acquire) {
                round += 1;
                // Cut, grown, replaced by a link, by a pipe's name, taken away, put back.
                fs::write(flags.join("extra.toml"), "x = ").unwrap();
                fs::write(flags.join("extra.toml"), "x".repeat(limits::FILE + round % 2)).unwrap();
                clear(&flags.join("extra.toml"));
                symlink("/dev/zero", flags.join("extra.toml")).unwrap();
                clear(&flags.join("extra.toml"));
                fs::rename(&flags, &away).unwrap();
                fs::rename(&away, &flags).unwrap();
            }
        });
        for _ in 0..200 {
            let version = running.namespace.flag_version();
            match running.namespace.refresh() {
                Ok(()) => assert_eq!(running.namespace.flag_version(), version + 1),
                Err(error) => assert_eq!(running.namespace.flag_version(), version, "{error}"),
            }
            // A load in a moment without the folder finds an empty namespace, which is what stood there.
            if running.namespace.snapshot().snapshot.program.len() == 1 {
                assert_eq!(value(&running.namespace), 7);
            }
            drop(lint_dir(&running.place));
        }
        stop.store(true, Ordering::Release);
    });
    running.recovers("churn");
}
