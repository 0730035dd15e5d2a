//! The protocol on loopback.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

#[derive(Default)]
struct State {
    revision: u64,
    kinds: BTreeMap<&'static str, BTreeMap<String, Value>>,
    streams: Vec<TcpStream>,
    closed: bool,
}

pub(crate) struct Double {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Double {
    pub(crate) fn start(key: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        for kind in ["configs", "flags", "secrets"] {
            state.lock().unwrap().kinds.insert(kind, BTreeMap::new());
        }
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared, key));
            }
        });
        Self { url, state }
    }

    pub(crate) fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, key: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        head.iter().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = vec![0; header("content-length").map_or(0, |n| n.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let mut words = head[0].split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut guard = state.lock().unwrap();
    let answer = |status: u16, body: &str, etag: u64| {
        let mut stream = &stream;
        let _ = write!(
            stream,
            "HTTP/1.1 {status} x\r\netag: \"{etag}\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    };
    if guard.closed {
        return answer(503, "", 0);
    }
    if header("x-nexus-api-key").as_deref() != Some(key) {
        return answer(401, "", 0);
    }
    let revision = guard.revision;
    if path == "/v1/sync" {
        if header("if-none-match") == Some(format!("\"{revision}\"")) {
            return answer(304, "", revision);
        }
        let document = json!({ "synced_at": "t", "key_type": "sk", "service_kind": "backend",
            "configs": guard.kinds["configs"], "flags": guard.kinds["flags"], "secrets": guard.kinds["secrets"] });
        return answer(200, &document.to_string(), revision);
    }
    if path == "/v1/stream" {
        let mut writer = stream.try_clone().unwrap();
        let _ = write!(
            writer,
            "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\n\r\nevent: resync\ndata: {{}}\n\n"
        );
        guard.streams.push(writer);
        return;
    }
    let mut parts = path.trim_start_matches("/v1/").splitn(2, '/');
    let (kind, name) = (parts.next().unwrap().to_owned(), parts.next().map(str::to_owned));
    let given: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let name = name.unwrap_or_else(|| given["key"].as_str().unwrap().to_owned());
    let table = guard.kinds.get_mut(kind.as_str()).unwrap();
    let version = table.get(&name).and_then(|entry| entry["version"].as_u64()).unwrap_or(0);
    if header("if-version").is_some_and(|wanted| wanted != version.to_string()) {
        return answer(409, "", 0);
    }
    if method == "DELETE" {
        if table.remove(&name).is_none() {
            return answer(404, "", 0);
        }
    } else {
        let mut entry = given;
        entry["version"] = json!(version + 1);
        entry["source"] = json!("service");
        table.insert(name, entry);
    }
    guard.revision += 1;
    for stream in &mut guard.streams {
        let _ = stream.write_all(b"event: config.updated\ndata: {}\n\n");
    }
    answer(201, "{}", 0);
}
