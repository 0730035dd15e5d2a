//! A process that works on a store until it is killed.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use leverframe::{backends::clock_system::SystemClock, config::ambient_environment};
use leverframe_server::store::{self, Store};

use crate::place::Place;

/// What an acknowledgement begins with: whatever else the process prints is none.
const ACKNOWLEDGED: &str = "acknowledged ";

const DATA: &str = "LEVERFRAME_TEST_DATA";
const DATABASE: &str = "LEVERFRAME_TEST_DATABASE";

/// Returns the store to work on, in the process that is to be killed.
pub(crate) async fn store_to_work_on() -> Option<Arc<dyn Store>> {
    let (_, data) = ambient_environment(&[DATA]).pop()?;
    let url = ambient_environment(&[DATABASE]).pop().map(|(_, url)| url);
    let clock = Arc::new(SystemClock::new());
    Some(store::open(Path::new(data.expose()), url.as_ref(), clock).await.unwrap())
}

/// Says, in that process, what is stored from now on.
pub(crate) fn acknowledge(what: &str) {
    let line = format!("{ACKNOWLEDGED}{what}\n");
    let mut out = io::stdout();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs a test of this binary in another process, on the store of `place`, and kills it after so many acknowledgements;
/// returns all that it gave.
pub(crate) fn kill_after(place: &Place, test: &str, count: usize) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", test]).env(DATA, place.data()).stdout(Stdio::piped());
    if let Some(url) = place.url() {
        command.env(DATABASE, url.expose());
    }
    let mut process = command.spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    while acknowledged.len() < count {
        acknowledged.extend(next(&mut out).expect("it ended by itself"));
    }
    // SIGKILL.
    process.kill().unwrap();
    process.wait().unwrap();
    // What it said before it died it has promised.
    while let Some(given) = next(&mut out) {
        acknowledged.extend(given);
    }
    acknowledged
}

/// Reads a line, which may be none of those that count; `None` at the end, and for a line that was cut.
fn next(out: &mut impl BufRead) -> Option<Option<String>> {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let line = line.strip_suffix('\n')?;
    Some(line.strip_prefix(ACKNOWLEDGED).map(str::to_owned))
}
