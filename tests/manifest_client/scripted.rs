//! A server on loopback that answers as a test says, and keeps what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Method and target.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The content of the form's only field, after checks of the form around it.
    pub(crate) fn archive(&self) -> &[u8] {
        let kind = self.header("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let head = self.body.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let form = std::str::from_utf8(&self.body[..head]).unwrap();
        assert!(form.starts_with(&format!("--{boundary}\r\n")), "{form}");
        assert!(form.contains("Content-Disposition: form-data; name=\"archive\"; filename=\""), "{form}");
        let end = format!("\r\n--{boundary}--\r\n");
        self.body[head + 4..].strip_suffix(end.as_bytes()).unwrap()
    }
}

/// Status, headers, body.
pub(crate) type Said = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Makes a JSON answer.
pub(crate) fn json(status: u16, body: serde_json::Value) -> Said {
    (status, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
}

/// Makes the answer that refuses.
pub(crate) fn refusal(status: u16, code: &str, message: &str, details: serde_json::Value) -> Said {
    json(
        status,
        serde_json::json!({
            "error": { "code": code, "message": message, "details": details },
            "request_id": "01HV5XK1EFQT8N3JRDCP7MW04A",
        }),
    )
}

pub(crate) struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let acceptor = {
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // One at a time is enough; a client that goes early is no failure of the test's.
                    let _ = stream.and_then(|stream| serve(stream, &asked, &answer));
                }
            })
        };
        Self { address, asked, stop, acceptor: Some(acceptor) }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

fn serve(
    stream: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    answer: &impl Fn(&Asked) -> Said,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut request =
        Asked { line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), ..Asked::default() };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    if request.header("expect").is_some() {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    let (status, headers, body) = answer(&request);
    asked.lock().unwrap().push(request);
    let mut head =
        format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}
