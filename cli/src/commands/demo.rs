//! `leverframe demo`: the whole thing at work on the payments namespace.

use std::{fs, path::Path, time::Duration};

use leverframe::{
    EvalContext, EvalOptions, ExdClient,
    backends::clock_system::SystemClock,
    document::Tree,
    manifest::{LintOptions, lint_tree},
    traits::Clock,
};

use crate::{
    failure::{Failure, exit},
    output::{BOLD, CYAN, DIM, GREEN, Out, Sources, draw, plural, styled},
    place::write_tree,
};

/// The flag that the demonstration looks at, and the line it edits.
const FLAG: &str = "new-checkout";
const BEFORE: &str = "values = [\"DE\", \"FR\"]";
const AFTER: &str = "values = [\"DE\", \"FR\", \"US\"]";

pub(super) fn run(once: bool, out: &mut Out) -> Result<u8, Failure> {
    let tree = payments();
    let users = users();
    lint(&tree, out)?;
    evaluate(&tree, &users, out)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(follow(&tree, &users, once, out))?;
    Ok(exit::OK)
}

fn heading(number: u8, text: &str, out: &mut Out) -> Result<(), Failure> {
    out.line(format!("\n{} {}", styled(CYAN, format!("{number}.")), styled(BOLD, text)))
}

fn lint(tree: &Tree, out: &mut Out) -> Result<(), Failure> {
    heading(1, "Lint the payments namespace", out)?;
    let report = lint_tree(tree, &LintOptions::new()).report;
    for diagnostic in report.errors().chain(report.warnings()) {
        out.text(draw(diagnostic, &Sources(tree)))?;
    }
    let (flags, segments) = (plural(report.flags, "flag"), plural(report.segments, "segment"));
    let verdict = if report.passed() { styled(GREEN, "OK") } else { "not OK".to_owned() };
    out.line(format!("   namespace '{}': {flags}, {segments} — {verdict}", report.namespace))
}

fn evaluate(tree: &Tree, users: &[(&str, EvalContext)], out: &mut Out) -> Result<(), Failure> {
    let linted = lint_tree(tree, &LintOptions::new());
    let manifest = linted.manifest.ok_or_else(|| crate::output::refuse(&linted.report))?;
    let program = leverframe::eval::Program::compile(&manifest);
    let options = EvalOptions::new();
    heading(2, "Evaluate it for three users in production", out)?;
    let shown = [FLAG, "fraud-threshold", "payment-methods", "retry-policy"];
    let names = shown.map(|flag| format!("{flag:<18}")).join("");
    out.line(styled(DIM, format!("   {:<8} {}", "", names.trim_end())))?;
    for (name, context) in users {
        let values = shown.map(|flag| {
            let variant =
                program.evaluate(flag, "production", context, &options).map_or("?", |e| e.variant_key);
            format!("{variant:<18}")
        });
        out.line(format!("   {name:<8} {}", values.join("").trim_end()))?;
    }
    let (name, context) = &users[0];
    heading(3, &format!("Why does {name} get this `{FLAG}`?"), out)?;
    let trace = program.trace(FLAG, "production", context, &options)?;
    for line in trace.to_string().lines() {
        out.line(format!("   {line}"))?;
    }
    Ok(())
}

async fn follow(
    tree: &Tree,
    users: &[(&str, EvalContext)],
    once: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    heading(4, "Edit a rule while a client runs", out)?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("payments");
    write_tree(tree, &dir)?;
    let client = ExdClient::builder()
        .namespace_uri(format!("file://{}", dir.display()))
        .environment("production")
        .poll_interval(Duration::from_secs(30))
        .build()
        .await
        .map_err(|e| Failure::new(exit::IO, e.to_string()))?;
    let (name, context) = users.iter().find(|(name, _)| *name == "grace").unwrap_or(&users[0]);
    let flag = client.flag(FLAG, false);
    out.line(format!(
        "   a client serves version {} from a copy of the files; {name}, in the US, gets {}",
        client.flag_version(),
        flag.get(context)
    ))?;
    let clock = SystemClock::new();
    let start = edit(&dir, &clock)?;
    out.line(format!("   {BEFORE}  →  {AFTER}  in flags/{FLAG}.toml"))?;
    let mut seen = 0;
    while client.flag_version() == 1 {
        seen = client.wait_for_refresh(seen).await;
    }
    let took = (clock.now() - start).as_millis();
    out.line(format!(
        "   {} the client serves version {} after {took} ms; {name} gets {}",
        styled(GREEN, "✓"),
        client.flag_version(),
        flag.get(context)
    ))?;
    if !once {
        out.line(format!(
            "\nThe client goes on. Edit files below {} and watch; end with Ctrl-C.",
            dir.display()
        ))?;
        watch(&client, seen, out).await?;
    }
    client.close().await.map_err(|e| Failure::new(exit::IO, e.to_string()))
}

/// Writes the changed file and returns when that began.
fn edit(dir: &Path, clock: &SystemClock) -> Result<leverframe::traits::Tick, Failure> {
    let path = dir.join(format!("flags/{FLAG}.toml"));
    let text = fs::read_to_string(&path)?;
    if !text.contains(BEFORE) {
        return Err(Failure::new(exit::BAD, "the demonstration's flag does not hold the line it edits"));
    }
    let start = clock.now();
    fs::write(&path, text.replace(BEFORE, AFTER))?;
    Ok(start)
}

async fn watch(client: &ExdClient, mut seen: u64, out: &mut Out) -> Result<(), Failure> {
    let mut version = client.flag_version();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            now = client.wait_for_refresh(seen) => seen = now,
        }
        if let Some(error) = client.last_refresh_error() {
            out.line(format!("   refused, version {version} goes on: {error}"))?;
        } else if client.flag_version() != version {
            version = client.flag_version();
            out.line(format!("   {} version {version}", styled(GREEN, "✓")))?;
        }
    }
}

fn users() -> [(&'static str, EvalContext); 3] {
    let user = |id: &str, country: &str, plan: &str, age: i64| {
        EvalContext::builder()
            .str("user.id", id)
            .str("user.country", country)
            .str("user.plan", plan)
            .str("app.version", "4.2.0")
            .int("account.age_days", age)
            .float("order.amount", 129.9)
            .build()
    };
    [
        ("ada", user("u-1001", "DE", "business", 900)),
        ("grace", user("u-2002", "US", "personal", 40)),
        ("linus", user("u-3003", "FI", "personal", 3)),
    ]
}

include!(concat!(env!("OUT_DIR"), "/payments.rs"));
