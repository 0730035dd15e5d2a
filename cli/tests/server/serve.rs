//! `leverframe serve`: how it starts, what it logs, how it ends.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
};

use crate::{
    child::{Serving, Stage, leverframe, stderr},
    ports::free_port,
};

#[test]
fn the_greeting_says_where_and_what_next_and_sigterm_ends_it_well() {
    let stage = Stage::new();
    let server = stage.serve();

    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let greeting = server.greeting.clone();
    server.signal("TERM");
    let status = server.ended();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        greeting.contains("leverframe admin bootstrap --data") && greeting.contains("the console"),
        "{greeting}"
    );
    assert_eq!(status.code(), Some(0));
    let log = fs::read_to_string(stage.path("log")).unwrap();
    assert!(log.contains("listening") && log.contains("stopped"), "{log}");
}

#[test]
fn a_request_that_is_under_way_is_answered_before_the_end() {
    let stage = Stage::new();
    let token = stage.prepare();
    let server = stage.serve();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST /api/v1/tenants/-/namespaces/payments/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: the request is under way.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();

    server.signal("INT");
    stream.write_all(b"{}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(asked.starts_with(b"HTTP/1.1 100 Continue"));
    assert!(answer.contains("request_id"), "{answer}");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let stage = Stage::new();
    let token = stage.prepare();
    // Nobody else is given the port once the server has left it.
    let address = format!("127.0.0.1:{}", free_port());
    let server = Serving::start(stage.dir.path(), &address, |command| {
        command.args(["--drain", "3600", "--log-format", "human"]);
    });
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "POST /api/v1/tenants/-/namespaces/payments/evaluate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();

    server.signal("TERM");
    // Nobody is accepted any more once the first signal has arrived.
    while TcpStream::connect(server.address()).is_ok() {}
    server.signal("TERM");

    assert_eq!(server.ended().code(), Some(3));
}

#[test]
fn the_contracts_variables_are_honoured_below_ours_and_below_arguments() {
    let stage = Stage::new();
    let start = |change: fn(&mut std::process::Command)| {
        let mut command = leverframe();
        command.args(["serve", "--data", "data"]).current_dir(stage.dir.path());
        change(&mut command);
        command.output().unwrap()
    };

    // None of these can be listened at, so that each start ends by itself.
    let theirs = start(|command| {
        command.env("EXD_LISTEN", "256.0.0.1:1");
    });
    let ours = start(|command| {
        command.env("EXD_LISTEN", "256.0.0.1:1").env("LEVERFRAME_SERVER_LISTEN", "256.0.0.2:1");
    });
    let argument = start(|command| {
        command.env("LEVERFRAME_SERVER_LISTEN", "256.0.0.2:1").args(["--listen", "256.0.0.3:1"]);
    });

    for (output, address) in [(theirs, "256.0.0.1"), (ours, "256.0.0.2"), (argument, "256.0.0.3")] {
        assert!(stderr(&output).contains(address), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    }
}

#[test]
fn no_secret_reaches_a_log_or_a_file() {
    let stage = Stage::new();
    let root = stage.admin(&["bootstrap"]);
    let token = stage.prepare();
    stage.payments();
    let server = Serving::start(stage.dir.path(), "127.0.0.1:0", |command| {
        command.env("LEVERFRAME_LOG", "trace").args(["--log-format", "human"]);
    });
    for secret in [&token, &root] {
        for args in [
            &["push", "acme/payments", "payments"][..],
            &["versions", "acme/payments"],
            &["rollback", "acme/payments", "9"],
        ] {
            stage.manifest(&server, secret, args);
        }
    }
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let canary = "exd_write_canary-canary-canary-canary-canary-canar";
    let request = format!(
        "GET /api/v1/namespaces?token={canary} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {canary}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    server.signal("TERM");
    server.ended();

    let written = stage.everything_written();
    let holds = |text: &str| written.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("manifest.upload") || holds("stopped"), "the search looks at the right files");
    for secret in [root.as_str(), &token, canary] {
        assert!(!holds(secret) && !answer.contains(secret), "{}…", &secret[..12]);
    }
}

#[test]
fn the_log_is_an_object_a_line_where_that_is_asked_for() {
    let stage = Stage::new();
    let output = leverframe()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--tls-cert",
            "none.pem",
            "--tls-key",
            "none.key",
        ])
        .current_dir(stage.dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));

    let mut child = leverframe()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data", "data"])
        .current_dir(stage.dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("listening") && log.read_line(&mut text).unwrap() > 0 {}
    child.kill().unwrap();
    child.wait().unwrap();

    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "listening" && line["address"].is_string()), "{text}");
}
