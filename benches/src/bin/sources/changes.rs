//! How long it takes from a change at the source until it is served, from the moment of the poll.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use leverframe::{
    LoadOptions, Namespace,
    eval::Program,
    live::{Outcome, block_on},
    manifest::{LintOptions, archive, lint_tree},
    traits::{Request, Transport},
};
use leverframe_benches::{
    measure::{Effort, in_turns},
    report::{Row, Target},
};

use crate::{
    places::{Archive, GitOverHttps},
    real::process::program,
};

fn rounds(quick: bool) -> usize {
    if quick { Effort::QUICK.rounds } else { Effort::FULL.rounds }
}

/// An archive over https, against its transfer and its compilation by themselves.
pub(crate) fn https(quick: bool) -> Vec<Row> {
    const NAME: &str = "change to served, https, 1,000 flags";
    let mut place = Archive::new();
    let (uri, transport) = (place.uri(), place.transport());
    let options = LoadOptions::new().with_transport(place.transport());
    let namespace = Namespace::from_uri_with_options(&uri, &options).expect("the server serves it");
    let archive = place.archive().to_vec();
    let [whole, transfer, compile] = in_turns(
        // Short ones, of which the machine spoils more.
        3 * rounds(quick),
        [
            &mut || {
                place.change();
                polled(&namespace)
            },
            &mut || transferred(&*transport, &uri),
            &mut || compiled(&archive),
        ],
    );
    let target = Target { ns: None, ratio: Some(1.2) };
    vec![
        Row::pair(NAME, whole, ("its transfer + lint and compile alone", transfer + compile), target),
        Row::time("transfer alone of the same archive", transfer, Default::default())
            .noting(format!("{} B", archive.len())),
        Row::time("unpack, lint and compile alone of the same archive", compile, Default::default()),
    ]
}

/// A branch over https, against the git program's shallow clone of it.
pub(crate) fn git(quick: bool) -> Vec<Row> {
    const NAME: &str = "change to served, git+https, 1,000 flags";
    let mut place = GitOverHttps::new();
    let namespace = place.namespace();
    let url = place.server.uri("", "open", "flags").replacen("git+", "", 1);
    let into = place.branch.dir.path().join("clone");
    let ca_file = place.pki.ca_file();
    let [ours, theirs] = in_turns(
        rounds(quick),
        [
            &mut || {
                place.branch.change();
                polled(&namespace)
            },
            &mut || cloned(&url, &ca_file, &into),
        ],
    );
    vec![Row::pair(NAME, ours, ("git clone --depth 1", theirs), Target { ns: None, ratio: Some(0.5) })]
}

fn polled(namespace: &Namespace) -> Duration {
    let start = Instant::now();
    let outcome = namespace.poll().expect("the server answers");
    let took = start.elapsed();
    assert!(matches!(outcome, Outcome::Swapped(_)), "the change was not served");
    took
}

fn transferred(transport: &dyn Transport, uri: &str) -> Duration {
    let start = Instant::now();
    let request = Request::get(uri.parse().expect("the server's URI is one"));
    let content = block_on(async { transport.send(request).await?.body.read_all(5_000_000).await });
    let took = start.elapsed();
    assert!(content.is_ok_and(|content| !content.is_empty()));
    took
}

/// What was made is dropped after the clock has stopped.
fn compiled(bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let unpacked = archive::unpack(bytes).expect("the archive is ours");
    let manifest =
        lint_tree(&unpacked.tree, &LintOptions::new()).manifest.expect("generated namespaces lint clean");
    let program = Program::compile(&manifest);
    let took = start.elapsed();
    drop((unpacked, manifest, program));
    took
}

fn cloned(url: &str, ca_file: &Path, into: &Path) -> Duration {
    let mut command = Command::new(program("git"));
    command
        .args(["-c", &format!("http.sslCAInfo={}", ca_file.display())])
        .args(["clone", "--quiet", "--depth", "1", url])
        .arg(into)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_SSL_CAINFO");
    let start = Instant::now();
    let status = command.status().expect("git is installed");
    let took = start.elapsed();
    assert!(status.success(), "git clone failed");
    fs::remove_dir_all(into).expect("git made it");
    took
}
