//! Secrets as files.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use leverframe::{NexusClient, NexusError, settings::WriteOptions, testing::ManualClock};
use serde_json::json;

use super::stage::{Stage, config, eventually, file, pass, secret, settled};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nä\n";

fn stage() -> Stage {
    let stage = Stage::filled();
    stage.publish(|document| {
        document.secrets = json!({"tls.cert": file(CERTIFICATE, 1), "token": secret("s3cret", 1)});
    });
    stage
}

fn client(stage: &Stage, base: &Path) -> (NexusClient, ManualClock) {
    let clock = ManualClock::new();
    let client = stage.builder().files_dir(base).clock(Arc::new(clock.clone())).build().unwrap();
    (client, clock)
}

/// Returns the folders of clients.
fn folders(base: &Path) -> Vec<PathBuf> {
    fs::read_dir(base).unwrap().map(|item| item.unwrap().path()).collect()
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_is_private_in_a_private_folder_under_a_name_that_tells_nothing() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());

    let path = client.get_secret_file_path("tls.cert").unwrap();

    assert_eq!(fs::read_to_string(&path).unwrap(), CERTIFICATE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    let listed = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(listed, 2, "the file and the mark of its owner");
}

#[test]
fn two_clients_have_folders_of_their_own_and_other_names() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (first, _one) = client(&stage, base.path());
    let (second, _two) = client(&stage, base.path());
    let (of_first, of_second) =
        (first.get_secret_file_path("tls.cert").unwrap(), second.get_secret_file_path("tls.cert").unwrap());

    drop(first);

    assert_ne!(of_first.parent(), of_second.parent());
    assert_ne!(of_first.file_name(), of_second.file_name());
    assert!(!of_first.exists() && of_second.exists());
}

#[test]
fn files_and_texts_are_no_secrets_of_the_other_form() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());

    assert!(matches!(client.get_secret("tls.cert"), Err(NexusError::SecretNotFound(_))));
    assert!(matches!(client.get_secret_file_path("token"), Err(NexusError::SecretNotFound(_))));
    assert!(matches!(client.get_secret_file_path("none"), Err(NexusError::SecretNotFound(_))));
}

#[test]
fn files_go_when_the_last_clone_does_also_while_the_stream_runs() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    client.run_stream();
    stage.wait_for_streams(1);
    let path = client.get_secret_file_path("tls.cert").unwrap();

    drop(client.clone());
    assert!(path.exists());
    drop(client);

    assert_eq!(folders(base.path()), Vec::<PathBuf>::new());
}

#[test]
fn files_go_when_the_client_is_closed_and_do_not_come_back() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());

    client.close();

    assert_eq!(folders(base.path()), Vec::<PathBuf>::new());
    assert!(matches!(client.get_secret_file_path("tls.cert"), Err(NexusError::SecretNotFound(_))));
    assert_eq!(folders(base.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_file_goes_when_its_secret_does() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    let path = client.get_secret_file_path("tls.cert").unwrap();

    stage.publish(|document| document.secrets = json!({}));
    client.sync().unwrap();

    assert!(!path.exists());
    assert!(matches!(client.get_secret_file_path("tls.cert"), Err(NexusError::SecretNotFound(_))));
}

#[test]
fn a_file_follows_its_secret_at_the_same_place() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    let path = client.get_secret_file_path("tls.cert").unwrap();
    let open = fs::read_to_string(&path).unwrap();

    // Deleted and made anew, it has the version that it had before.
    stage.publish(|document| document.secrets = json!({"tls.cert": file("new", 1)}));
    client.sync().unwrap();

    assert_eq!(client.get_secret_file_path("tls.cert").unwrap(), path);
    assert_eq!((open.as_str(), fs::read_to_string(&path).unwrap().as_str()), (CERTIFICATE, "new"));
}

#[test]
fn two_hundred_unchanged_files_are_not_written_again() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let keys: Vec<String> = (0..200).map(|n| format!("file-{n}")).collect();
    stage.publish(|document| {
        document.secrets = keys.iter().map(|key| (key.clone(), file(key, 1))).collect();
    });
    let (client, _clock) = client(&stage, base.path());
    let inodes = || -> Vec<(u64, i64)> {
        let paths = keys.iter().map(|key| client.get_secret_file_path(key).unwrap());
        paths.map(|path| fs::metadata(path).unwrap()).map(|found| (found.ino(), found.mtime_nsec())).collect()
    };
    let before = inodes();

    // A new document, in which one file is new.
    stage.publish(|document| {
        document.configs = json!({"other": config(1)});
        document.secrets["file-7"] = file("changed", 2);
    });
    client.sync().unwrap();

    let after = inodes();
    let rewritten: Vec<usize> = (0..200).filter(|n| before[*n] != after[*n]).collect();
    assert_eq!(rewritten, [7]);
    assert_eq!(client.get_config("other"), Some(1.into()));
}

#[test]
fn any_bytes_can_be_a_file() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    let content: Vec<u8> = (0..=255).collect();

    client.set_secret_file("keystore", &content, &WriteOptions::new()).unwrap();

    assert_eq!(fs::read(client.get_secret_file_path("keystore").unwrap()).unwrap(), content);
    assert_eq!(stage.asked("/v1/secrets")[0].json()["encoding"], "base64");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_of_its_getter_and_of_nothing_else() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    stage.publish(|document| {
        document.secrets["broken"] = json!({
            "value": "no base64!", "version": 1, "type": "file", "encoding": "base64", "source": "service",
        });
        document.secrets["later"] = json!({
            "value": "x", "version": 1, "type": "file", "encoding": "rot13", "source": "service",
        });
    });
    let (client, _clock) = client(&stage, base.path());

    for key in ["broken", "later"] {
        let error = client.get_secret_file_path(key).unwrap_err();
        assert!(matches!(&error, NexusError::Io(reason) if reason.to_string().contains(key)), "{error:?}");
        assert!(!format!("{error:?}").contains("no base64!"));
    }
    assert!(client.get_secret_file_path("tls.cert").unwrap().exists());
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret");
}

#[test]
fn a_folder_that_is_taken_away_is_put_back_at_its_place() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, clock) = client(&stage, base.path());
    let path = client.get_secret_file_path("tls.cert").unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();

    assert_eq!(client.get_secret_file_path("tls.cert").unwrap(), path);
    assert_eq!(fs::read_to_string(&path).unwrap(), CERTIFICATE);

    // Also where nobody asks for it.
    fs::remove_file(&path).unwrap();
    pass(&clock, Duration::from_secs(60));
    settled(&client, 1);
    eventually("the file is back", || path.exists());
}

#[test]
fn a_place_that_cannot_be_written_is_told_and_used_once_it_can() {
    let (stage, dir) = (stage(), tempfile::tempdir().unwrap());
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    let (client, _clock) = client(&stage, &base);
    fs::remove_dir_all(&base).unwrap();
    // Root may write anywhere, but not below a file.
    fs::write(&base, "").unwrap();

    let error = client.get_secret_file_path("tls.cert").unwrap_err();

    assert!(matches!(error, NexusError::Io(_)) && error.hint().is_some(), "{error:?}");
    client.sync().unwrap();
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret");
    fs::remove_file(&base).unwrap();
    fs::create_dir(&base).unwrap();
    client.sync().unwrap();
    let path = client.get_secret_file_path("tls.cert").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), CERTIFICATE);
}

#[test]
fn a_link_that_somebody_put_in_the_way_is_not_followed() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    let path = client.get_secret_file_path("tls.cert").unwrap();
    let victim = base.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();

    stage.publish(|document| document.secrets = json!({"tls.cert": file("new", 2)}));
    client.sync().unwrap();

    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(path).unwrap(), "new");
}

#[test]
fn folders_of_dead_processes_are_removed_at_the_next_start_and_those_of_living_ones_are_not() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (living, _clock) = client(&stage, base.path());
    let held = living.get_secret_file_path("tls.cert").unwrap();
    // What a process leaves that was killed: its files, and the mark that nobody holds any more.
    let dead = base.path().join("leverframe-settings-1-0123456789abcdef");
    fs::create_dir(&dead).unwrap();
    allow(&dead, 0o700);
    fs::write(dead.join("owner"), "pid 1\n").unwrap();
    fs::write(dead.join("00ff"), "left behind").unwrap();
    let foreign = base.path().join("other-1");
    fs::create_dir(&foreign).unwrap();

    let (_next, _clock) = client(&stage, base.path());

    assert!(!dead.exists() && foreign.exists() && held.exists());
    assert_eq!(folders(base.path()).len(), 3);
}

#[test]
fn what_others_put_where_folders_are_made_holds_up_no_start_and_is_left_alone() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let put = |name: &str, mode: u32| {
        let folder = base.path().join(format!("leverframe-settings-{name}"));
        fs::create_dir(&folder).unwrap();
        allow(&folder, mode);
        folder
    };
    let pipe_in = |folder: &Path| {
        assert!(Command::new("mkfifo").arg(folder.join("owner")).status().unwrap().success());
    };
    pipe_in(&put("theirs", 0o755));
    pipe_in(&put("like-ours", 0o700));
    let linked = put("linked", 0o700);
    symlink(base.path().join("leverframe-settings-theirs/owner"), linked.join("owner")).unwrap();
    // As a process leaves it that was killed, but for whom it belongs to, and who may change it.
    fs::write(put("open", 0o777).join("owner"), "pid 1\n").unwrap();
    let foreign = put("foreign", 0o700);
    fs::write(foreign.join("owner"), "pid 1\n").unwrap();
    if chown(&foreign, Some(65_533), None).is_err() {
        // Only root gives away what it has.
        fs::remove_dir_all(&foreign).unwrap();
    }
    let before = folders(base.path());

    let builder = stage.builder().files_dir(base.path());
    let (tell, told) = mpsc::channel();
    let starting = thread::spawn(move || tell.send(builder.build()).unwrap());
    let client = told.recv_timeout(Duration::from_secs(30)).expect("it waits for somebody to write").unwrap();

    starting.join().unwrap();
    drop(client);
    let mut after = folders(base.path());
    after.sort();
    assert_eq!(after, {
        let mut before = before;
        before.sort();
        before
    });
}

#[test]
fn a_folder_that_somebody_made_in_the_place_of_one_that_was_removed_is_not_used() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    for look in [|_: &NexusClient| {}, |client: &NexusClient| client.sync().unwrap()] {
        let path = client.get_secret_file_path("tls.cert").unwrap();
        let folder = path.parent().unwrap();
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir(folder).unwrap();
        allow(folder, 0o777);

        look(&client);

        let now = client.get_secret_file_path("tls.cert").unwrap();
        assert_ne!(now.parent(), Some(folder));
        assert_eq!(fs::read_to_string(&now).unwrap(), CERTIFICATE);
        assert_eq!(fs::metadata(now.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "something was put into it");
    }
}

#[test]
fn a_file_that_somebody_put_in_the_place_of_a_secrets_is_not_handed_out() {
    let (stage, base) = (stage(), tempfile::tempdir().unwrap());
    let (client, _clock) = client(&stage, base.path());
    let path = client.get_secret_file_path("tls.cert").unwrap();
    let folder = path.parent().unwrap();
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
    fs::write(&path, "theirs").unwrap();

    let now = client.get_secret_file_path("tls.cert").unwrap();

    assert_eq!(fs::read_to_string(&now).unwrap(), CERTIFICATE);
    // In the client's own folder it is replaced.
    let beside = now.with_extension("new");
    fs::write(&beside, "theirs").unwrap();
    fs::rename(&beside, &now).unwrap();
    client.sync().unwrap();
    assert_eq!(client.get_secret_file_path("tls.cert").unwrap(), now);
    assert_eq!(fs::read_to_string(&now).unwrap(), CERTIFICATE);
    client.close();
    assert_eq!(
        (folders(base.path()), fs::read_to_string(&path).unwrap()),
        (vec![folder.to_owned()], "theirs".to_owned())
    );
}

#[test]
fn a_client_without_files_makes_no_folder() {
    let (stage, base) = (Stage::filled(), tempfile::tempdir().unwrap());

    let (_client, _clock) = client(&stage, base.path());

    assert_eq!(folders(base.path()), Vec::<PathBuf>::new());
}
