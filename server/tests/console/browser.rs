//! A headless Chromium, driven over WebDriver.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire;

/// Flags without which Chromium does not run as root in a container, or talks to its maker.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];
/// How long a condition may take to come true, on a machine that does much else.
const PATIENCE_MS: u64 = 20_000;
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const SHIFT: &str = "\u{e008}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const END: &str = "\u{e010}";
pub(crate) const DOWN: &str = "\u{e015}";
pub(crate) const RIGHT: &str = "\u{e014}";

/// A browser with one empty profile; it ends with the value.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        let profile = TempDir::new().unwrap();
        let mut driver = Command::new(program("chromedriver"))
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port_of(&mut driver)));
        let mut flags: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": program("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": PATIENCE_MS + 5_000, "pageLoad": 60_000},
        }}});
        let body = serde_json::to_vec(&wanted).unwrap();
        let answer =
            wire::send(address, "POST", "/session", &[("content-type", "application/json")], &body).await;
        let answer = answer.json();
        let session = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let browser = Self { driver, address, session, _profile: profile };
        browser.resize(1280, 900).await;
        browser
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let path = format!("/session/{}{path}", self.session);
        let body = if method == "GET" { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let headers = [("content-type", "application/json")];
        let answer = wire::send(self.address, method, &path, &headers, &body).await;
        let value = answer.json()["value"].take();
        if answer.status == 200 { Ok(value) } else { Err(value) }
    }

    async fn must(&self, method: &str, path: &str, body: Value) -> Value {
        self.call(method, path, &body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn visit(&self, url: &str) {
        self.must("POST", "/url", json!({"url": url})).await;
    }

    pub(crate) async fn reload(&self) {
        self.must("POST", "/refresh", json!({})).await;
    }

    /// Goes to an address within the console.
    pub(crate) async fn go(&self, hash: &str) {
        self.run("location.hash = arguments[0]", json!([hash])).await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        // Not the window's size, which has a lower bound, but that of the page in it.
        self.command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        )
        .await;
    }

    /// Prefers `light` or `dark`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    async fn command(&self, name: &str, parameters: Value) {
        self.must("POST", "/goog/cdp/execute", json!({"cmd": name, "params": parameters})).await;
    }

    /// Runs a script and returns what it returns.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        self.must("POST", "/execute/sync", json!({"script": script, "args": arguments})).await
    }

    /// Returns what an expression gives.
    pub(crate) async fn get(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression})"), json!([])).await
    }

    /// Waits until an expression is true; the waiting is the browser's.
    pub(crate) async fn wait(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0], start = performance.now();
             (function look() {{
                 let is = false;
                 try {{ is = Boolean({expression}); }} catch (error) {{ is = false; }}
                 if (is || performance.now() - start > {PATIENCE_MS}) done(is); else setTimeout(look, 20);
             }})();"
        );
        let came = self.must("POST", "/execute/async", json!({"script": script, "args": []})).await;
        if came != json!(true) {
            let page = self.get("document.body.innerText").await;
            panic!("`{expression}` did not come true. The page: {}", page.as_str().unwrap_or_default());
        }
    }

    /// Waits until the page shows a text.
    pub(crate) async fn wait_for_text(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until there is an element.
    pub(crate) async fn wait_for(&self, selector: &str) {
        self.wait(&format!("document.querySelector({})", json!(selector))).await;
    }

    async fn element(&self, selector: &str) -> String {
        self.wait_for(selector).await;
        let found = self.must("POST", "/element", json!({"using": "css selector", "value": selector})).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks as a person does: what is covered or out of sight cannot be clicked.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.must("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into a field, after what is there.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.must("POST", &format!("/element/{element}/value"), json!({"text": text})).await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let mut actions = Vec::new();
        for key in keys.chars() {
            actions.push(json!({"type": "keyDown", "value": key.to_string()}));
            actions.push(json!({"type": "keyUp", "value": key.to_string()}));
        }
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.must("POST", "/actions", json!({"actions": [keyboard]})).await;
    }

    /// Presses one key while another is held.
    pub(crate) async fn press_with(&self, held: &str, key: &str) {
        let actions = json!([
            {"type": "keyDown", "value": held}, {"type": "keyDown", "value": key},
            {"type": "keyUp", "value": key}, {"type": "keyUp", "value": held},
        ]);
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.must("POST", "/actions", json!({"actions": [keyboard]})).await;
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        self.wait_for(selector).await;
        let text = self.get(&format!("document.querySelector({}).innerText", json!(selector))).await;
        text.as_str().unwrap().to_owned()
    }

    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let encoded = self.must("GET", "/screenshot", json!({})).await;
        STANDARD.decode(encoded.as_str().unwrap()).unwrap()
    }

    /// Fails if the page or the browser complained of anything since the last call: scripts that threw, policies that
    /// were violated. Refusals of the API are answers, not complaints.
    pub(crate) async fn expect_no_complaints(&self) {
        let log = self.must("POST", "/se/log", json!({"type": "browser"})).await;
        let complaints: Vec<&Value> =
            log.as_array().unwrap().iter().filter(|entry| entry["source"] != "network").collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when it is asked to; killed, it would leave the browser behind.
        if let Ok(mut stream) = std::net::TcpStream::connect(self.address) {
            use std::io::{Read, Write};
            let path = format!("/session/{}", self.session);
            let request =
                format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
            // Best effort: what ends here is a test, and its outcome is settled.
            let _ = stream.write_all(request.as_bytes());
            // It answers when the browser has ended, and then leaves the connection open.
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Finds a program where distributions put it; fails the test loudly where it is missing.
fn program(name: &str) -> String {
    let places = ["/usr/bin", "/usr/local/bin", "/snap/bin"].map(|dir| format!("{dir}/{name}"));
    let found = places.iter().find(|path| std::path::Path::new(path).is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not installed; run `.ci/install`")).clone()
}

/// Reads which port the driver took.
fn port_of(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().unwrap();
        }
    }
    panic!("chromedriver ended before it listened");
}
