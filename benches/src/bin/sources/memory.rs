//! Whether memory stays as it is over many refreshes; in a process of its own, whose memory is nobody else's.

use std::{env, fs, process::Command};

use leverframe::live::Outcome;
use leverframe_benches::report::Row;

use crate::places::GitOverHttps;

/// How the process of its own is asked for.
const ARGUMENT: &str = "--memory-after=";

/// Reads how many refreshes are asked for, if this process is the one of its own.
pub(crate) fn asked_for(argument: &str) -> Option<usize> {
    argument.strip_prefix(ARGUMENT)?.parse().ok()
}

/// A git source whose branch moves before each refresh: the memory after all of them against a tenth.
pub(crate) fn git(quick: bool) -> Vec<Row> {
    let refreshes = if quick { 50 } else { 1_000 };
    let program = env::current_exe().expect("the system knows this program's path");
    let output =
        Command::new(program).arg(format!("{ARGUMENT}{refreshes}")).output().expect("it runs once more");
    let figures = String::from_utf8_lossy(&output.stdout);
    let mut figures = figures.split_whitespace().map(|f| f.parse::<f64>().expect("only figures are printed"));
    let (Some(early), Some(late)) = (figures.next(), figures.next()) else {
        panic!("the measuring process failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    let name = format!("memory after {refreshes} refreshes, git+https, 1,000 flags");
    vec![Row::pair_of_bytes(&name, late, ("after a tenth of them", early), 1.05)]
}

/// Refreshes, and prints the resident memory in bytes after a tenth and after all.
pub(crate) fn print(refreshes: usize) {
    let mut place = GitOverHttps::new();
    let namespace = place.namespace();
    for refresh in 1..=refreshes {
        place.branch.change();
        let outcome = namespace.poll().expect("the server answers");
        assert!(matches!(outcome, Outcome::Swapped(_)), "the change was not served");
        if refresh == refreshes / 10 || refresh == refreshes {
            println!("{}", resident());
        } else if refresh * 10 % refreshes == 0 {
            eprintln!("{refresh} refreshes: {}", resident());
        }
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("Linux counts in kB")
}
