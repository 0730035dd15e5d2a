//! `leverframe demo`: the whole thing at work on the payments namespace.

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use leverframe::{
    EvalContext, EvalOptions, ExdClient, IfVersion, ManifestClient, NexusClient, Secret,
    backends::clock_system::SystemClock,
    document::Tree,
    gate::{WaitState, WaitStateConfig},
    manifest::{LintOptions, lint_tree},
    settings::WriteOptions,
    traits::Clock,
};
use leverframe_server::{
    Running, ServeOptions, Server,
    admin::Admin,
    gate::{IssuedGateKey, NewGateKey},
    model::{LoginMode, NamespaceRecord, Tenant, TokenType},
    settings::{
        Keyring, NewSettingsKey,
        model::{Kind, ServiceId},
    },
    store,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    failure::{Failure, exit},
    output::{BOLD, CYAN, DIM, GREEN, Out, RED, Sources, draw, plural, styled},
    place::write_tree,
    signals::{Asked, Signals},
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
    runtime.block_on(serve(&tree, &users, once, out))?;
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

/// A server with one tenant and one namespace, of which nothing is left when it is dropped.
struct Team {
    folder: TempDir,
    running: Running,
    /// May push.
    writer: Secret,
    /// May read.
    reader: Secret,
    /// May look at everything in the tenant.
    admin: Secret,
    /// What instances report with.
    gate: IssuedGateKey,
    /// What a service asks for its settings with.
    settings: Secret,
}

impl Team {
    async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(&folder.path().join("data"), None, Arc::clone(&clock)).await?;
        let desk = Admin::new(Arc::clone(&store), Arc::clone(&clock));
        let mut tenant = Tenant::new(TENANT, LoginMode::Sso, clock.wall());
        tenant.sso_provider = Some("demo".to_owned());
        desk.create_tenant(&tenant).await?;
        desk.create_namespace(&NamespaceRecord::new(TENANT, NAMESPACE, clock.wall())).await?;
        let mint = async |kind: TokenType| {
            let mut token = desk.token(kind);
            token.tenant = Some(TENANT.to_owned());
            token.namespace = (kind != TokenType::TenantAdmin).then(|| NAMESPACE.to_owned());
            desk.mint(token).await.map(|issued| issued.secret)
        };
        let (writer, reader) =
            (mint(TokenType::NamespaceWrite).await?, mint(TokenType::NamespaceRead).await?);
        let admin = mint(TokenType::TenantAdmin).await?;
        let gate = desk.issue_gate_key(&NewGateKey::new(TENANT)).await?;
        let keyring = Keyring::in_directory(&folder.path().join("data"))?;
        let service = NewSettingsKey::new(ServiceId::new(TENANT, NAMESPACE, "production"), false);
        let settings = desk.settings_key(&keyring, &service, Kind::Backend).await?.issued.secret;
        let mut options = ServeOptions::default();
        // Whatever else runs on this machine.
        options.listen = "127.0.0.1:0".to_owned();
        options.store = Some(store);
        options.data = folder.path().join("data");
        let running = Server::start(options).await?;
        Ok(Self { folder, running, writer, reader, admin, gate, settings })
    }

    async fn client(&self) -> Result<ExdClient, Failure> {
        let client = ExdClient::builder()
            .server(self.running.url())
            .namespace(NAMESPACE)
            .api_token(self.reader.expose())
            .environment("production")
            .event_stream(true)
            .build()
            .await;
        client.map_err(|error| Failure::new(exit::IO, error.to_string()))
    }
}

const TENANT: &str = "acme";
const NAMESPACE: &str = "payments";

async fn serve(tree: &Tree, users: &[(&str, EvalContext)], once: bool, out: &mut Out) -> Result<(), Failure> {
    heading(4, "Change a rule on a server while a client listens", out)?;
    let mut signals = Signals::new()?;
    let team = Team::start().await?;
    let dir = team.folder.path().join(NAMESPACE);
    write_tree(tree, &dir)?;
    fs::write(dir.join("gate.toml"), RULE)?;
    out.line(format!("{} {}, in a temporary folder", step("server"), team.running.url()))?;
    let manager = ManifestClient::new(team.running.url(), team.writer.expose());
    let first = manager.push(NAMESPACE, &dir, Some(IfVersion(0))).await?;
    out.line(format!("{} {TENANT}/{NAMESPACE} is version {} there", step("push"), first.version))?;
    let client = team.client().await?;
    let (name, context) = users.iter().find(|(name, _)| *name == "grace").unwrap_or(&users[0]);
    let flag = client.flag(FLAG, false);
    out.line(format!("{} streams it; {name}, in the US, gets {}", step("client"), flag.get(context)))?;
    edit(&dir)?;
    out.line(format!("{} {BEFORE}  →  {AFTER}  in flags/{FLAG}.toml", step("edit")))?;

    let clock = SystemClock::new();
    let (before, start) = (client.flag_version(), clock.now());
    let push = async {
        let pushed = manager.push(NAMESPACE, &dir, Some(IfVersion(first.version))).await?;
        Ok::<_, Failure>((pushed.version, clock.now() - start))
    };
    let see = async {
        let mut seen = 0;
        while client.flag_version() == before {
            seen = client.wait_for_refresh(seen).await;
        }
        clock.now() - start
    };
    let ((version, accepted), served) = tokio::try_join!(push, async { Ok(see.await) })?;
    out.line(format!("{} version {version}, accepted after {} ms", step("push"), accepted.as_millis()))?;
    out.line(format!(
        "   {} the client serves version {version} after {} ms; {name} gets {}",
        styled(GREEN, "✓"),
        served.as_millis(),
        flag.get(context)
    ))?;
    gate(&team, out).await?;
    settings(&team, out)?;
    if !once {
        invite(&team, &dir, out)?;
        watch(&client, &mut signals, out).await?;
    }
    client.close().await.map_err(|error| Failure::new(exit::IO, error.to_string()))?;
    team.running.stop(Some(Duration::from_secs(2))).await;
    Ok(())
}

/// What stands at the beginning of a line: who does something.
fn step(word: &str) -> String {
    format!("   {}", styled(DIM, format!("{word:<7}")))
}

/// Pushed with the flags: what the server does by itself when calls of a tag fail.
const RULE: &str = "[[rule]]\nname = \"shed-free\"\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\n\
                    threshold = 5\nwindow_secs = 60\naction = \"block\"\n";

async fn gate(team: &Team, out: &mut Out) -> Result<(), Failure> {
    heading(5, "Gate calls, until a rule steps in", out)?;
    let gate = WaitState::start(WaitStateConfig {
        publish_key: team.gate.key.publish_key.clone(),
        secret_key: team.gate.secret.expose().to_owned(),
        base_url: team.running.url(),
        ..WaitStateConfig::default()
    });
    out.line(format!("{} gate.toml: more than 5 errors of `free` within a minute → block it", step("rule")))?;
    for _ in 0..6 {
        if gate.gate(Some("free"), None).allowed {
            gate.report_error(Some("free"));
        }
    }
    out.line(format!("{} calls as `free`; all of 6 pass, and fail", step("client")))?;
    let clock = SystemClock::new();
    let start = clock.now();
    gate.flush().await?;
    // The server looks at its rules once a second, and an instance hears of it with its next report.
    while gate.gate(Some("free"), None).allowed && clock.now() - start < Duration::from_secs(10) {
        clock.sleep_until(clock.now() + Duration::from_millis(100)).await;
        gate.flush().await?;
    }
    let after = (clock.now() - start).as_millis();
    let (free, pro) = (gate.gate(Some("free"), None), gate.gate(Some("pro"), None));
    let sign = if free.allowed { "✗" } else { "✓" };
    out.line(format!(
        "   {} reported, and told after {after} ms: `free` is {}, `pro` is {}",
        styled(GREEN, sign),
        free.reason,
        pro.reason
    ))?;
    Ok(gate.close().await?)
}

/// Lets a client read a config while another one changes it.
fn settings(team: &Team, out: &mut Out) -> Result<(), Failure> {
    heading(6, "Change a setting while a service reads it", out)?;
    let client = || NexusClient::builder().endpoint(team.running.url()).api_key(team.settings.expose());
    let writer = client().build()?;
    writer.set_secret("DB_PASSWORD", "correct horse")?;
    writer.set_config("greeting", &json!("Good morning"), &WriteOptions::new())?;
    let reader = client().stream(true).build()?;
    let password = reader.get_secret("DB_PASSWORD")?;
    out.line(format!(
        "{} DB_PASSWORD, which the server's disk has sealed, is {password:?}",
        step("service")
    ))?;
    let (tell, told) = mpsc::channel();
    let _watching = reader.on_change(move |_| {
        // Nobody listens once this is over.
        let _ = tell.send(());
    });
    let clock = SystemClock::new();
    let start = clock.now();
    writer.set_config("greeting", &json!("Good evening"), &WriteOptions::new())?;
    let read = || reader.get_config_as::<String>("greeting").ok().flatten().unwrap_or_default();
    while read() != "Good evening" && told.recv_timeout(Duration::from_secs(10)).is_ok() {}
    let after = (clock.now() - start).as_millis();
    let sign = if read() == "Good evening" { styled(GREEN, "✓") } else { styled(RED, "✗") };
    out.line(format!("   {sign} greeting was changed, and reads `{}` after {after} ms", read()))?;
    reader.close();
    writer.close();
    Ok(())
}

/// Says what there is to play with.
fn invite(team: &Team, dir: &Path, out: &mut Out) -> Result<(), Failure> {
    let token = team.folder.path().join("write.token");
    fs::write(&token, team.writer.expose())?;
    let url = team.running.url();
    out.line(format!("\n{}  {url}/", styled(BOLD, "The console:")))?;
    out.line(format!("   token  {}", team.admin.expose()))?;
    out.line(format!("{}  edit files below {}, then", styled(BOLD, "Push more:"), dir.display()))?;
    out.line(format!(
        "   leverframe manifest push {NAMESPACE} {} --server {url} --token-file {}",
        dir.display(),
        token.display()
    ))?;
    let key = team.folder.path().join("service.key");
    fs::write(&key, team.settings.expose())?;
    out.line(format!(
        "{}  settings of a service become variables of any program:",
        styled(BOLD, "Run one:")
    ))?;
    out.line(format!("   leverframe run --server {url} --key-file {} -- env", key.display()))?;
    out.line("Ctrl-C ends it, and nothing is left.")
}

/// Writes the changed file.
fn edit(dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("flags/{FLAG}.toml"));
    let text = fs::read_to_string(&path)?;
    if !text.contains(BEFORE) {
        return Err(Failure::new(exit::BAD, "the demonstration's flag does not hold the line it edits"));
    }
    Ok(fs::write(&path, text.replace(BEFORE, AFTER))?)
}

async fn watch(client: &ExdClient, signals: &mut Signals, out: &mut Out) -> Result<(), Failure> {
    let (mut seen, mut version, mut said) = (0, client.flag_version(), None);
    loop {
        tokio::select! {
            asked = signals.next() => if asked == Asked::Stop { return Ok(()) },
            now = client.wait_for_refresh(seen) => seen = now,
        }
        let error = client.last_refresh_error();
        if error.is_some() && error != said {
            out.line(format!("   version {version} goes on: {}", error.as_deref().unwrap_or_default()))?;
        }
        said = error;
        if client.flag_version() != version {
            version = client.flag_version();
            out.line(format!("   {} the client serves version {version}", styled(GREEN, "✓")))?;
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
