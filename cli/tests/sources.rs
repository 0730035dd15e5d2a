//! Commands that sign, verify, follow, and read from elsewhere.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use leverframe::{
    manifest::archive,
    sources::file::{ReadLimits, read_tree},
};

fn leverframe(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leverframe"));
    command.args(args).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    leverframe(args).output().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what must fail, and returns exit code and standard error.
fn fails(args: &[&str]) -> (i32, String) {
    let output = run(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/namespaces/payments")
}

/// A copy of the payments namespace.
fn copy(dir: &Path) -> PathBuf {
    let root = dir.join("payments");
    let tree = read_tree(&example(), &ReadLimits::default()).unwrap();
    for (path, _) in tree.iter() {
        let (from, to) = (example().join(path), root.join(path));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    root
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_is_signed_verified_and_refused_once_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, key) = (copy(dir.path()), dir.path().join("release.key"));
    let public = ok(&["keygen", text(&key)]).trim().to_owned();
    assert!(public.starts_with("lvf-pub-"), "{public}");
    assert!(fs::read_to_string(&key).unwrap().starts_with("lvf-key-"));

    assert!(ok(&["sign", text(&root), "--key", text(&key)]).contains("counter 1, 1 signature"));
    assert!(ok(&["verify", text(&root), "--trusted", &public]).contains("counter 1"));
    assert!(ok(&["sign", text(&root), "--key", text(&key), "--expires", "90d"]).contains("counter 2"));
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["verify", text(&root), "--trusted", &public, "--format", "json"]))
            .unwrap();
    assert_eq!(json["result"]["namespace"], "payments");
    assert!(json["result"]["expires"].as_str().unwrap().ends_with('Z'));

    fs::write(root.join("flags/more.toml"), "schema_version = \"0.1\"\n").unwrap();
    let (code, error) = fails(&["verify", text(&root), "--trusted", &public]);
    assert_eq!(code, 1);
    assert!(error.contains("made for other files") && error.contains("hint: "), "{error}");
}

#[test]
fn several_keys_sign_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let root = copy(dir.path());
    let keys = ["a.key", "b.key"].map(|name| dir.path().join(name));
    let public = keys.each_ref().map(|key| ok(&["keygen", text(key)]).trim().to_owned());
    let verify = || {
        let threshold = ["--threshold", "2"];
        run(&[&["verify", text(&root), "--trusted", &public[0], "--trusted", &public[1]][..], &threshold]
            .concat())
    };

    ok(&["sign", text(&root), "--key", text(&keys[0])]);
    assert_eq!(verify().status.code(), Some(1));
    assert!(ok(&["sign", text(&root), "--key", text(&keys[1]), "--add"]).contains("counter 1, 2 signatures"));
    assert!(verify().status.success());
}

#[test]
fn an_archive_is_signed_beside_itself_or_before_it_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, key) = (copy(dir.path()), dir.path().join("release.key"));
    let public = ok(&["keygen", text(&key)]).trim().to_owned();
    let archive = dir.path().join("payments-v8.tar.gz");
    ok(&["manifest", "pack", text(&root), "-o", text(&archive)]);
    assert_eq!(fails(&["verify", text(&archive), "--trusted", &public]).0, 1);

    ok(&["sign", text(&archive), "--key", text(&key)]);
    assert!(dir.path().join("payments-v8.tar.gz.sig").exists());
    ok(&["verify", text(&archive), "--trusted", &public]);

    fs::remove_file(dir.path().join("payments-v8.tar.gz.sig")).unwrap();
    ok(&["sign", text(&root), "--key", text(&key)]);
    ok(&["manifest", "pack", text(&root), "-o", text(&archive)]);
    ok(&["verify", &format!("file://{}", archive.display()), "--trusted", &public]);
}

#[test]
fn keys_and_counters_are_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let (root, key) = (copy(dir.path()), dir.path().join("release.key"));
    let public = ok(&["keygen", text(&key)]).trim().to_owned();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let secret = fs::read_to_string(&key).unwrap();

    assert!(fails(&["keygen", text(&key)]).1.contains("no key is overwritten"));
    assert_eq!(fs::read_to_string(&key).unwrap(), secret);
    let (_, error) = fails(&["verify", text(&root), "--trusted", secret.trim()]);
    assert!(error.contains("secret key") && !error.contains(secret.trim()), "{error}");
    ok(&["sign", text(&root), "--key", text(&key), "--counter", "7"]);
    let (code, error) = fails(&["sign", text(&root), "--key", text(&key), "--counter", "7"]);
    assert!(code == 2 && error.contains("not above 7"), "{error}");
    let older = fails(&["verify", text(&root), "--trusted", &public, "--lowest-counter", "8"]);
    assert!(older.0 == 1 && older.1.contains("older"), "{}", older.1);
    assert_eq!(fails(&["sign", text(&root), "--key", text(&key), "--expires", "soon"]).0, 2);
    assert_eq!(fails(&["sign", text(&root), "--key", "/no/such.key"]).0, 3);
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watch_prints_each_change_with_what_it_moves_and_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let root = copy(dir.path());
    let mut child = Ended(
        leverframe(&["watch", text(&root), "--changes", "1", "--interval", "0.2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut notes = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(notes.next().unwrap().unwrap().contains("flags; a look every 0.2 s"));
    let flag = root.join("flags/new-checkout.toml");
    let good = fs::read_to_string(&flag).unwrap();

    fs::write(&flag, "broken [").unwrap();
    let note = notes.next().unwrap().unwrap();
    assert!(note.contains("not refreshed") && note.contains("lint"), "{note}");
    fs::write(&flag, good.replace("variant = \"off\"", "variant = \"on\"")).unwrap();

    let mut output = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.contains("change 1") && output.contains("new-checkout"), "{output}");
    assert!(child.0.wait().unwrap().success());
}

/// Serves one archive to whoever asks, for as long as the process lives.
fn serve(content: Vec<u8>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let uri = format!("http://{}/payments.tar.gz", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len());
            // The client may be content with the head.
            let _ = stream.write_all(&[answer.as_bytes(), &content].concat());
        }
    });
    uri
}

#[test]
fn commands_read_from_any_uri() {
    let tree = read_tree(&example(), &ReadLimits::default()).unwrap();
    let uri = serve(archive::pack(&tree).unwrap());

    assert!(ok(&["lint", &uri]).contains("payments"));
    let value = ok(&["eval", "max-basket-items", "--env", "production", "--manifest", &uri]);
    assert_eq!(
        value,
        ok(&["eval", "max-basket-items", "--env", "production", "--manifest", text(&example())])
    );
    let (code, error) = fails(&["lint", "htttps://example.com/x.tar.gz"]);
    assert!(code == 2 && error.contains("did you mean `https`?"), "{error}");
}
