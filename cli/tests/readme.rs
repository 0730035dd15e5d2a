//! The shell snippets of README and docs do what they show.
//!
//! Fenced blocks are run with the real binary in a temporary folder, one document after the other, each block where
//! the block before it ended. In a `console` block every line is compared: `…` stands for any lines, or for any text
//! within a line. Commands of an `sh` block have to succeed. Of a command that ends with `&` the first line is compared
//! where it is started, and the rest where the block says `wait`.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "../../tests/support/ports.rs"]
mod ports;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the snippets may run besides `leverframe`.
const HELPERS: [&str; 6] = ["cp", "echo", "export", "kill", "sed", "wait"];
/// What is not for this test: other tests and `.ci/run` run these.
const ELSEWHERE: [&str; 9] = [
    ".ci/install",
    ".ci/run",
    "benches/callgrind",
    "benches/gate",
    "benches/run",
    "benches/server/run",
    "benches/settings",
    "benches/sources",
    "cargo",
];

#[test]
fn the_readme_shows_what_the_commands_print() {
    let ran = run_document("README.md");

    assert!(ran >= 18, "only {ran} commands were found");
}

#[test]
fn the_documents_show_what_the_commands_print() {
    let mut ran = 0;
    for item in fs::read_dir(root().join("docs")).unwrap() {
        let name = item.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".md") {
            continue;
        }
        ran += run_document(&format!("docs/{name}"));
    }
    run_document("CONTRIBUTING.md");

    assert!(ran >= 10, "only {ran} commands were found");
}

#[test]
fn the_readme_shows_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();

    for command in commands(&[]) {
        let inner = commands(&[&command]);
        let shown: Vec<String> = if inner.is_empty() {
            vec![format!("leverframe {command}")]
        } else {
            inner.iter().map(|inner| format!("leverframe {command} {inner}")).collect()
        };
        for shown in shown {
            assert!(readme.contains(&shown), "the README does not show `{shown}`");
        }
    }
}

/// The commands that the help lists, without `help` itself.
fn commands(path: &[&str]) -> Vec<String> {
    let output = Command::new(BINARY).args(path).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let Some((_, listed)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    listed
        .lines()
        .take_while(|line| !line.is_empty())
        // Deeper lines go on with the text of the line before.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Runs the blocks of one document and returns how many commands that were.
#[track_caller]
fn run_document(name: &str) -> usize {
    let text = fs::read_to_string(root().join(name)).unwrap();
    let stage = if name == "README.md" { checkout() } else { workplace() };
    let mut ran = 0;
    for block in blocks(&text) {
        let steps = steps(&block, name);
        let results = run(&steps, stage.path());
        assert_eq!(results.len(), steps.len(), "{name}: {block:#?}: {results:#?}");
        for (index, (step, (shown, code))) in steps.iter().zip(&results).enumerate() {
            let asked = steps.get(index + 1).is_some_and(|next| next.command == "echo $?");
            assert!(*code == 0 || asked, "{name}: `{}` ended with {code}: {shown}", step.command);
            let Some(expected) = &step.expected else { continue };
            let lines: Vec<&str> = shown.lines().collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            assert!(
                lines_match(&expected, &lines),
                "{name}: `{}` prints\n{shown}\nand not\n{}",
                step.command,
                expected.join("\n")
            );
        }
        ran += steps.len();
    }
    ran
}

#[derive(Debug)]
struct Block {
    console: bool,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), Vec::new())),
            (Some(_), Some(_)) => {
                let (language, lines) = open.take().unwrap();
                if ["console", "sh"].contains(&language.as_str()) {
                    blocks.push(Block { console: language == "console", lines });
                }
            }
            (None, Some((_, lines))) => lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

#[derive(Debug)]
struct Step {
    command: String,
    /// `None` where the document does not show the output.
    expected: Option<Vec<String>>,
}

#[track_caller]
fn steps(block: &Block, document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in &block.lines {
        match line.strip_prefix("$ ") {
            Some(command) if block.console => {
                steps.push(Step { command: command.to_owned(), expected: Some(Vec::new()) });
            }
            _ if block.console => {
                let expected = steps.last_mut().and_then(|step| step.expected.as_mut());
                expected
                    .unwrap_or_else(|| panic!("{document}: output before a command: {line}"))
                    .push(line.clone());
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => steps.push(Step { command: line.clone(), expected: None }),
        }
    }
    for step in &mut steps {
        if let Some(arguments) = step.command.strip_prefix("cargo run --release -p leverframe-cli -- ") {
            step.command = format!("leverframe {arguments}");
        }
    }
    steps.retain(|step| !ELSEWHERE.contains(&program(&step.command)));
    for step in &steps {
        let program = program(&step.command);
        assert!(
            program == "leverframe" || HELPERS.contains(&program),
            "{document}: this test does not know whether it may run `{}`",
            step.command
        );
    }
    steps
}

/// The first word that sets no variable.
fn program(command: &str) -> &str {
    command.split_whitespace().find(|word| !word.contains('=')).unwrap_or_default()
}

/// Runs the commands in one shell, and returns what each printed and how it ended.
fn run(steps: &[Step], dir: &Path) -> Vec<(String, i32)> {
    let here = format!("127.0.0.1:{}", ports::free_port());
    let mut script = "exec 2>&1\n".to_owned();
    for step in steps {
        // The code is handed on, for `echo $?`.
        let command = shell(&step.command).replace(ADDRESS, &here);
        script.push_str(&format!("{command}\ncode=$?\nprintf '\\001%d\\002' $code\n(exit $code)\n"));
    }
    let binaries = Path::new(BINARY).parent().unwrap();
    let paths = env::split_paths("/usr/bin:/bin").collect::<Vec<_>>();
    let path = env::join_paths([binaries.to_owned()].into_iter().chain(paths)).unwrap();
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("EXD_HTTP_BACKEND")
        .env_remove("LEVERFRAME_CACHE__USE")
        .env_remove("LEVERFRAME_API_TOKEN")
        .env("LEVERFRAME_SERVER_LISTEN", &here)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace(&here, ADDRESS);
    text.split_terminator('\u{2}')
        .map(|part| {
            let (shown, code) = part.rsplit_once('\u{1}').unwrap();
            (shown.to_owned(), code.parse().unwrap())
        })
        .collect()
}

/// Where servers of the documents listen.
const ADDRESS: &str = "127.0.0.1:8080";

/// Writes a command as the shell is to run it.
fn shell(command: &str) -> String {
    if command == "wait" {
        return "cat <&3; exec 3<&-; wait $!".to_owned();
    }
    let errors = if command.contains("2>") { "" } else { "2>&1" };
    match command.strip_suffix(" &") {
        // Reading its first line waits until it is at work; `timeout` keeps one that misses a change from hanging.
        Some(command) => format!(
            "rm -f background; mkfifo background; timeout 60 {command} >background {errors} &\n\
             exec 3<background; IFS= read -r line <&3; printf '%s\\n' \"$line\""
        ),
        None => command.to_owned(),
    }
}

fn lines_match(expected: &[&str], shown: &[&str]) -> bool {
    match expected.split_first() {
        None => shown.is_empty(),
        Some((&"…", rest)) => (0..=shown.len()).any(|skipped| lines_match(rest, &shown[skipped..])),
        Some((line, rest)) => shown
            .split_first()
            .is_some_and(|(first, more)| line_matches(line, first) && lines_match(rest, more)),
    }
}

fn line_matches(expected: &str, shown: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| shown.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What a reader of the README has: a checkout.
fn checkout() -> tempfile::TempDir {
    let stage = tempfile::tempdir().unwrap();
    for examples in ["examples/gate", "examples/namespaces"] {
        copy(&root().join(examples), &stage.path().join(examples)).unwrap();
    }
    stage
}

/// What the documents speak of besides: the namespace `payments`, the archive that was released before, and the
/// configuration of a service.
fn workplace() -> tempfile::TempDir {
    let stage = checkout();
    copy(&root().join("examples/namespaces/payments"), &stage.path().join("payments")).unwrap();
    let packed = Command::new(BINARY)
        .args(["manifest", "pack", "payments", "-o", "payments-released.tar.gz"])
        .current_dir(stage.path())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let config = "[flags.payments]\nuri = \"file:///etc/app/payments\"\nenvironment = \"production\"\n";
    fs::write(stage.path().join("leverframe.toml"), config).unwrap();
    stage
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const BINARY: &str = env!("CARGO_BIN_EXE_leverframe");

#[test]
fn a_gap_matches_any_lines_and_any_text_and_nothing_else_does() {
    assert!(lines_match(&["a", "…", "d"], &["a", "b", "c", "d"]));
    assert!(lines_match(&["…"], &[]));
    assert!(lines_match(&["after … ms; done"], &["after 21 ms; done"]));
    assert!(!lines_match(&["a", "…", "d"], &["a", "d", "e"]));
    assert!(!lines_match(&["a"], &["a", "b"]));
    assert!(!lines_match(&["after … ms"], &["after 21 s"]));
}
