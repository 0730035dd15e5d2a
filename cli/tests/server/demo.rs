//! `leverframe demo` while it stays.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::child::{Stage, leverframe, signal, stderr, watch};

#[test]
fn the_demonstration_stays_takes_another_push_and_leaves_nothing() {
    let stage = Stage::new();
    let mut child =
        leverframe().arg("demo").env("TMPDIR", stage.dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let _watched = watch(child.id());
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    let mut read_until = |end: &str| {
        loop {
            let mut line = String::new();
            assert!(shown.read_line(&mut line).unwrap() > 0, "{lines:#?}");
            lines.push(line.trim_end().to_owned());
            if line.contains(end) {
                return lines.clone();
            }
        }
    };

    let lines = read_until("Ctrl-C");
    let after = |word: &str| {
        let line = lines.iter().find_map(|line| line.trim().strip_prefix(word));
        line.unwrap_or_else(|| panic!("{lines:#?}")).trim().to_owned()
    };
    let (console, command) = (after("The console:"), after("leverframe manifest push"));
    assert!(console.starts_with("http://127.0.0.1:") && after("token").starts_with("exd_tenant_"));
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let flag = format!("{}/flags/new-checkout.toml", arguments[1]);
    let text = std::fs::read_to_string(&flag).unwrap();
    std::fs::write(&flag, text.replace("\"US\"", "\"SE\"")).unwrap();
    let pushed = leverframe().args(["manifest", "push"]).args(&arguments).output().unwrap();
    assert!(pushed.status.success(), "{}", stderr(&pushed));
    read_until("the client serves version 3");
    signal(child.id(), "INT");

    assert_eq!(child.wait().unwrap().code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(stage.dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
