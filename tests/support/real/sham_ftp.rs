//! An FTP server over TLS that fails on demand, for the faults that real servers cannot be made to have.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::certs::Pki;

/// What the server does at a point, instead of what it should.
///
/// A point is a command, or `GREETING`, `TLS` (of the control connection), `DATA-TLS`, `DATA`, `END` (the reply that
/// ends a transfer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends nothing more, and tells the test.
    Hang,
    /// Ends the connection.
    Close,
    /// Sends this line.
    Say(&'static str),
    /// At `DATA`: sends so many bytes, then ends the connection without ending TLS.
    Cut(usize),
    /// At `DATA`: sends so many bytes, then ends TLS and the connection in good order.
    End(usize),
    /// At `DATA`: sends without end.
    Endless,
    /// At `DATA`: replaces the file, in full view of `MDTM`, before sending the old content.
    Replace,
}

/// A running server; ended on drop.
#[derive(Debug)]
pub struct Sham {
    shared: Arc<Shared>,
    hanging: mpsc::Receiver<&'static str>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    tls: Arc<ServerConfig>,
    implicit: bool,
    told: mpsc::Sender<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    /// The file's time, as `MDTM` writes it.
    time: u64,
    always: HashMap<&'static str, Act>,
    once: HashMap<&'static str, Act>,
    lines: Vec<String>,
    connections: usize,
    ended: bool,
}

impl Sham {
    /// Starts one with a certificate for `localhost`.
    pub fn start(pki: &Pki, implicit: bool) -> Self {
        Self::start_on("127.0.0.1".parse().unwrap(), pki, implicit).unwrap()
    }

    /// Starts one on another address of this machine, if it has it.
    pub fn start_on(address: IpAddr, pki: &Pki, implicit: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let (cert, key) = pki.leaf("sham", &["localhost", &address.to_string()], |_| {});
        let chain = CertificateDer::pem_file_iter(cert).unwrap().collect::<Result<_, _>>().unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let (told, hanging) = mpsc::channel();
        let state = State { content: b"content".to_vec(), time: 20_260_102_030_405, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), tls: Arc::new(tls), implicit, told });
        let address = listener.local_addr()?;
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.lock().ended {
                        return;
                    }
                    shared.lock().connections += 1;
                    let shared = Arc::clone(&shared);
                    // A client that hangs up is what many tests are about.
                    thread::spawn(move || drop(Connection::serve(&shared, stream.unwrap())));
                }
            }
        });
        Ok(Self { shared, hanging, address })
    }

    pub fn uri(&self) -> String {
        match self.address {
            SocketAddr::V4(address) => format!("ftps://localhost:{}/m.tar.gz", address.port()),
            SocketAddr::V6(address) => format!("ftps://{address}/m.tar.gz"),
        }
    }

    /// Acts like this at a point until told otherwise.
    pub fn always(&self, point: &'static str, act: Act) {
        self.shared.lock().always.insert(point, act);
    }

    /// Acts like this at a point, one time.
    pub fn once(&self, point: &'static str, act: Act) {
        self.shared.lock().once.insert(point, act);
    }

    /// Behaves again.
    pub fn behave(&self) {
        let mut state = self.shared.lock();
        state.always.clear();
        state.once.clear();
    }

    /// Replaces the file; its time is what `MDTM` writes.
    pub fn put(&self, content: &[u8], time: u64) {
        let mut state = self.shared.lock();
        state.content = content.to_vec();
        state.time = time;
    }

    /// Waits until the server hangs, and says where.
    pub fn hangs(&self) -> &'static str {
        self.hanging.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// The lines that were received.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().lines.clone()
    }

    /// How often a command was received.
    pub fn count(&self, command: &str) -> usize {
        self.lines().iter().filter(|line| line.split(' ').next() == Some(command)).count()
    }

    /// How many control connections there were.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }
}

impl Drop for Sham {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        // Wakes the thread that accepts, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn act(&self, point: &str) -> Option<Act> {
        let mut state = self.lock();
        state.once.remove(point).or_else(|| state.always.get(point).copied())
    }

    fn tls(&self, stream: TcpStream) -> Tls {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.tls)).unwrap(), stream)
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

struct Connection<'s> {
    shared: &'s Shared,
    control: Box<dyn Stream>,
    /// The same socket, for taking it over and for waiting on it.
    socket: TcpStream,
}

impl<'s> Connection<'s> {
    fn serve(shared: &'s Shared, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let control = Box::new(socket.try_clone()?);
        let mut connection = Self { shared, control, socket };
        if shared.implicit {
            connection.secure()?;
        }
        connection.reply("GREETING", "220 ready")?;
        let mut data = None;
        loop {
            let line = connection.line()?;
            shared.lock().lines.push(line.clone());
            let command = line.split(' ').next().unwrap_or_default();
            let (content, time) = {
                let state = shared.lock();
                (state.content.clone(), state.time)
            };
            match command {
                "AUTH" => {
                    connection.reply("AUTH", "234 go ahead")?;
                    connection.secure()?;
                }
                "USER" => connection.reply("USER", "331 password, please")?,
                "PASS" => connection.reply("PASS", "230 welcome")?,
                "PBSZ" => connection.reply("PBSZ", "200 done")?,
                "PROT" => connection.reply("PROT", "200 done")?,
                "TYPE" => connection.reply("TYPE", "200 done")?,
                "MDTM" => connection.reply("MDTM", &format!("213 {time}"))?,
                "SIZE" => connection.reply("SIZE", &format!("213 {}", content.len()))?,
                "EPSV" => {
                    let (listener, port) = connection.passive()?;
                    data = Some(listener);
                    connection.reply("EPSV", &format!("229 ready (|||{port}|)"))?;
                }
                "PASV" => {
                    let (listener, port) = connection.passive()?;
                    data = Some(listener);
                    // An address that leads nowhere: clients must use the one they are connected to.
                    let address = format!("227 ready (192,0,2,1,{},{})", port >> 8, port & 0xff);
                    connection.reply("PASV", &address)?;
                }
                "RETR" => {
                    connection.reply("RETR", "150 here it comes")?;
                    if let Some(listener) = data.take() {
                        connection.send(&listener, &content)?;
                        connection.reply("END", "226 done")?;
                    }
                }
                "QUIT" => return connection.reply("QUIT", "221 bye"),
                _ => connection.reply("OTHER", "502 no")?,
            }
        }
    }

    fn passive(&self) -> io::Result<(TcpListener, u16)> {
        let listener = TcpListener::bind((self.socket.local_addr()?.ip(), 0))?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    }

    fn secure(&mut self) -> io::Result<()> {
        match self.shared.act("TLS") {
            Some(act) => self.perform("TLS", act),
            None => {
                self.control = Box::new(self.shared.tls(self.socket.try_clone()?));
                Ok(())
            }
        }
    }

    fn send(&mut self, listener: &TcpListener, content: &[u8]) -> io::Result<()> {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        if let Some(act) = self.shared.act("DATA-TLS") {
            return self.perform("DATA-TLS", act);
        }
        let mut tls = self.shared.tls(socket.try_clone()?);
        let part = match self.shared.act("DATA") {
            None => content,
            Some(Act::Replace) => {
                let mut state = self.shared.lock();
                state.time += 1;
                state.content.reverse();
                content
            }
            Some(Act::Cut(bytes)) => {
                tls.write_all(&content[..bytes])?;
                tls.flush()?;
                return socket.shutdown(Shutdown::Both);
            }
            Some(Act::End(bytes)) => &content[..bytes],
            Some(Act::Endless) => loop {
                tls.write_all(&[0; 4096])?;
            },
            Some(act) => {
                tls.write_all(&content[..content.len() / 2])?;
                tls.flush()?;
                return self.perform("DATA", act);
            }
        };
        tls.write_all(part)?;
        tls.conn.send_close_notify();
        tls.flush()
    }

    fn reply(&mut self, point: &'static str, line: &str) -> io::Result<()> {
        match self.shared.act(point) {
            None => self.say(line),
            Some(act) => self.perform(point, act),
        }
    }

    fn perform(&mut self, point: &'static str, act: Act) -> io::Result<()> {
        match act {
            Act::Say(line) => self.say(line),
            Act::Hang => {
                // The test may be over.
                let _ = self.shared.told.send(point);
                while self.socket.read(&mut [0; 64])? > 0 {}
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => {
                self.socket.shutdown(Shutdown::Both)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        // In one piece: the kernel would hold back the second of two until the first is acknowledged.
        self.control.write_all(format!("{line}\r\n").as_bytes())?;
        self.control.flush()
    }

    /// Byte by byte: what follows `AUTH` belongs to TLS.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.control.read_exact(&mut byte)?;
            match byte[0] {
                b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
                other => line.push(other),
            }
        }
    }
}
