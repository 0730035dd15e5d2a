//! A source of one's own, registered, and chosen by configuration.
//!
//! It reads switches from one plain file, a line each (`dark-mode on`), and makes a namespace of them. A plug-in in
//! a crate of its own looks the same; `plugins/transport-example` is a template for one.
//!
//! ```sh
//! cargo run --example custom_source
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error as StdError,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leverframe::{
    Error, ErrorKind, EvalContext, Leverframe, Result, async_trait,
    document::{Content, Document, Entry, Revision, Tree},
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Load, Source},
};

// The settings: name, type, default, meaning. Configuration accepts these keys and no others, and
// `leverframe config reference` prints them.
leverframe::settings! {
    /// Settings of the `switches` source.
    pub struct SwitchesConfig {
        /// Who owns the flags that it makes.
        pub owner: String = String, "nobody".to_owned();
    }
}

/// A file of switches as a namespace.
#[derive(Debug)]
struct Switches {
    path: PathBuf,
    config: SwitchesConfig,
    closed: AtomicBool,
}

#[async_trait]
impl Source for Switches {
    fn name(&self) -> &'static str {
        "switches"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source"));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| {
            Error::from_io("read the switches", error)
                .with("path", self.path.display())
                .hint("write one switch a line, such as `dark-mode on`")
        })?;
        // The revision names the state: equal states have equal revisions. The text itself does here.
        let revision = Revision::new(text.as_str());
        if since == Some(&revision) {
            return Ok(Load::Unchanged);
        }
        let mut tree = Tree::new();
        for line in text.lines() {
            let Some((key, state)) = line.split_once(' ') else {
                return Err(Error::new(ErrorKind::Invalid, "read the switches").with("line", line));
            };
            tree.insert(format!("flags/{key}.toml"), Entry::File(flag(state, &self.config.owner).into()));
        }
        // Lint, compilation and the swap are not a source's business.
        Ok(Load::Snapshot(Document::new(revision, Content::Tree(tree)).named("switches")))
    }

    async fn changed(&self) -> Result<()> {
        // It cannot tell by itself when the file changes, so it is polled.
        std::future::pending().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

/// Writes a flag file that is always on or off.
fn flag(state: &str, owner: &str) -> String {
    format!(
        r#"
schema_version = "0.1"
[flag]
type = "boolean"
description = "A switch"
owner = "{owner}"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "{state}"
"#
    )
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    // The place from `[flags.<name>]`, the settings from `[source.switches]`.
    let path = context.uri().and_then(|uri| uri.strip_prefix("switches://")).ok_or_else(|| {
        Error::new(ErrorKind::Config, "open the switches").hint("write the URI as `switches:///path/to/file`")
    })?;
    Ok(Arc::new(Switches { path: path.into(), config: context.settings()?, closed: AtomicBool::new(false) }))
}

/// What the registry knows of it. The name is also the scheme of its URIs.
const PLUGIN: Plugin<dyn Source> = Plugin::new("switches", env!("CARGO_PKG_NAME"), build)
    .with_summary("Switches from a plain file")
    .with_fields(SwitchesConfig::FIELDS);
register_source!(PLUGIN);

fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let switches = folder.path().join("switches.txt");
    fs::write(&switches, "dark-mode on\nnew-search off\n")?;
    let file = folder.path().join("leverframe.toml");
    fs::write(
        &file,
        format!(
            r#"
[flags.shop]
uri = "switches://{}"
environment = "production"

[source.switches]
owner = "web"
"#,
            switches.display()
        ),
    )?;

    // Nothing names the type `Switches` here: the configuration chooses it by the scheme of the URI.
    let frame = Leverframe::from_config(&file)?;
    let shop = frame.namespace("shop")?;
    let ctx = EvalContext::new();
    println!("dark-mode: {}", shop.eval_bool("dark-mode", "production", &ctx)?);
    println!("new-search: {}", shop.eval_bool("new-search", "production", &ctx)?);

    fs::write(&switches, "dark-mode on\nnew-search on\n")?;
    shop.refresh()?;
    println!("new-search after a refresh: {}", shop.eval_bool("new-search", "production", &ctx)?);

    // What the source brings is linted like any other namespace, and what lint refuses is never served.
    fs::write(&switches, "dark-mode perhaps\n")?;
    if let Err(error) = shop.refresh() {
        println!("refused: {error}");
    }
    println!("dark-mode is still: {}", shop.eval_bool("dark-mode", "production", &ctx)?);
    frame.close()?;
    Ok(())
}
