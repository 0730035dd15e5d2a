//! What only another process can show: being killed, having children, and a disk without room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use leverframe::{NexusClient, NexusError};
use serde_json::json;

use super::{
    again::{Other, command, hear, is_other, say},
    stage::{KEY, Stage, eventually, file, secret},
};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n";

fn stage() -> Stage {
    let stage = Stage::filled();
    stage.publish(|document| {
        document.secrets = json!({"tls.cert": file(CERTIFICATE, 1), "token": secret("s3cret", 1)});
    });
    stage
}

/// What the other process is told: the service, and the folder for files.
fn tell(other: &mut Other, stage: &Stage, base: &Path) {
    other.tell(&format!("{} {}", stage.url(), base.display()));
}

/// The other process's client.
fn told_client() -> NexusClient {
    let told = hear();
    let (url, base) = told.expose().split_once(' ').unwrap();
    NexusClient::builder().endpoint(url).api_key(KEY).files_dir(base).build().unwrap()
}

fn folders(base: &Path) -> Vec<PathBuf> {
    fs::read_dir(base).unwrap().map(|item| item.unwrap().path()).collect()
}

#[test]
fn what_a_killed_process_leaves_is_removed_at_the_next_start() {
    const NAME: &str = "processes::what_a_killed_process_leaves_is_removed_at_the_next_start";
    if is_other(NAME) {
        let client = told_client();
        say(client.get_secret_file_path("tls.cert").unwrap().to_str().unwrap());
        hear();
        unreachable!("it is killed");
    }
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let mut killed = Other::start(command(None, NAME));
    tell(&mut killed, &stage, base.path());
    let mut living = Other::start(command(None, NAME));
    tell(&mut living, &stage, base.path());
    let (left, held) = (PathBuf::from(killed.hear()), PathBuf::from(living.hear()));

    killed.kill();

    assert_eq!(fs::read_to_string(&left).unwrap(), CERTIFICATE, "nobody was there to remove it");
    let client = stage.builder().files_dir(base.path()).build().unwrap();
    assert!(!left.parent().unwrap().exists(), "it is still there after the next start");
    assert_eq!(fs::read_to_string(&held).unwrap(), CERTIFICATE, "that of a living process is gone");
    drop(client);
    assert_eq!(folders(base.path()), [held.parent().unwrap()]);
}

#[test]
fn a_child_that_outlives_a_killed_process_keeps_nothing_of_it() {
    const NAME: &str = "processes::a_child_that_outlives_a_killed_process_keeps_nothing_of_it";
    if is_other(NAME) {
        let client = told_client();
        let path = client.get_secret_file_path("tls.cert").unwrap();
        // Forked off while the folder is locked, and alive until the test closes its input, which it has from here.
        let mut child = Command::new("cat").stdout(Stdio::null()).spawn().unwrap();
        say(&format!("{} {}", child.id(), path.display()));
        // Reads nothing from here on: the child has the input.
        child.wait().unwrap();
        unreachable!("it is killed");
    }
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let mut killed = Other::start(command(None, NAME));
    tell(&mut killed, &stage, base.path());
    let said = killed.hear();
    let (child, left) = said.split_once(' ').unwrap();
    killed.kill();
    assert!(Path::new("/proc").join(child).exists(), "the child has ended");

    let next = stage.builder().files_dir(base.path()).build().unwrap();

    assert!(!Path::new(left).exists());
    assert!(next.get_secret_file_path("tls.cert").unwrap().exists());
    killed.close();
    eventually("the child ends", || !Path::new("/proc").join(child).join("exe").exists());
}

#[test]
fn a_full_disk_is_an_error_of_the_files_that_do_not_fit_and_of_nothing_else() {
    const NAME: &str = "processes::a_full_disk_is_an_error_of_the_files_that_do_not_fit_and_of_nothing_else";
    if is_other(NAME) {
        return on_a_full_disk();
    }
    // A file system of its own in a name space of its own, where the kernel lets anybody make one; and everywhere a
    // limit of the size of files, at which writes stop short and then fail as on a full disk.
    let tmpfs: &[&str] = &["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNTED, "sh"];
    let limit: &[&str] = &["sh", "-c", "trap '' XFSZ; ulimit -f 48; exec \"$@\"", "sh"];
    let can_mount = Command::new("unshare")
        .args(["--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output()
        .is_ok_and(|tried| tried.status.success());
    for (program, kind) in [(limit, "FileTooLarge"), (tmpfs, "StorageFull")] {
        if kind == "StorageFull" && !can_mount {
            continue;
        }
        let (stage, base) = (stage(), tempfile::tempdir().unwrap());
        let mut command = command(Some(program), NAME);
        command.env("BASE", base.path());
        let mut other = Other::start(command);
        tell(&mut other, &stage, base.path());
        assert_eq!(other.hear(), "started");

        // It grows beyond what there is room for; another one does not.
        stage.publish(|document| {
            document.secrets =
                json!({"tls.cert": file(&"x".repeat(100_000), 2), "token": secret("s3cret-2", 2), "small": file("fits", 1)});
        });
        other.tell("grown");
        assert_eq!(other.hear(), kind);
        stage.publish(|document| document.secrets["tls.cert"] = file("small again", 3));
        other.tell("shrunk");
        assert_eq!(other.hear(), "fits");
        other.succeeds();
        assert_eq!(folders(base.path()), Vec::<PathBuf>::new());
    }
}

/// Puts 48 KiB of memory over the folder for files.
const MOUNTED: &str = "mount -t tmpfs -o size=48k none \"$BASE\" && exec \"$@\"";

fn on_a_full_disk() {
    let client = told_client();
    let path = client.get_secret_file_path("tls.cert").unwrap();
    let listed = || fs::read_dir(path.parent().unwrap()).unwrap().count();
    say("started");
    hear();

    client.sync().unwrap();

    let error = client.get_secret_file_path("tls.cert").unwrap_err();
    let NexusError::Io(reason) = &error else { panic!("{error:?}") };
    assert!(reason.to_string().contains("tls.cert") && error.hint().is_some(), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("xxx"));
    assert_eq!(fs::read_to_string(&path).unwrap(), CERTIFICATE, "half of the new one is there");
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    let small = client.get_secret_file_path("small").unwrap();
    assert_eq!(fs::read_to_string(small).unwrap(), "fits");
    assert_eq!(listed(), 3, "a part of the new file stays behind");
    // Tried again with every look, to no avail and without anything piling up.
    for _ in 0..20 {
        client.sync().unwrap();
    }
    assert_eq!((listed(), client.status().consecutive_failures), (3, 0));
    say(&format!("{:?}", reason.kind()));
    hear();
    client.sync().unwrap();
    let now = client.get_secret_file_path("tls.cert").unwrap();
    assert_eq!((fs::read_to_string(&now).unwrap().as_str(), now), ("small again", path.clone()));
    client.close();
    say("fits");
}
