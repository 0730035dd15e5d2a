//! `leverframe serve`

use std::{path::Path, time::Duration};

use leverframe::{Error, ErrorKind, Secret, config::ambient_environment};
use leverframe_server::{
    Running, ServeOptions, Server, TlsFiles,
    settings::{Keyring, SettingsStore},
};
use tracing_subscriber::{EnvFilter, filter::Directive};

use super::secret_file;
use crate::{
    args::{LogFormat, MasterKeyArgs, ServeArgs, StoreArgs},
    failure::{Failure, exit},
    output::{BOLD, CYAN, DIM, Out, styled},
    signals::{Asked, Signals},
};

pub(super) fn run(args: &ServeArgs, out: &mut Out) -> Result<u8, Failure> {
    log(args.log_format)?;
    let options = options(args)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(serve(args, options, out));
    // What still runs was told to end, or is not to be waited for.
    runtime.shutdown_background();
    code
}

async fn serve(args: &ServeArgs, options: ServeOptions, out: &mut Out) -> Result<u8, Failure> {
    // Before anything else, so that no signal ends the process half-way.
    let mut signals = Signals::new()?;
    let data = options.data.clone();
    let embedded = options.database.is_none();
    let running = Server::start(options).await?;
    if args.log_format == LogFormat::Human {
        greet(&running, embedded.then_some(data.as_path()), out)?;
    }
    while signals.next().await == Asked::Reload {
        match running.reload_tls() {
            Ok(()) => tracing::info!("certificate and key were read again"),
            Err(error) => tracing::error!(error = %error.chain(), "the certificate at hand stays in use"),
        }
    }
    tracing::info!(within_seconds = args.drain, "stopping; a second signal ends at once");
    let stop = running.stop(Some(Duration::from_secs(args.drain)));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            cut = &mut stop => {
                if cut > 0 {
                    tracing::warn!(cut, "connections were cut");
                }
                return Ok(exit::OK);
            }
            asked = signals.next() => if matches!(asked, Asked::Stop) {
                tracing::warn!("a second signal: ending at once");
                return Ok(exit::IO);
            }
        }
    }
}

/// Says where the server is and what comes next.
fn greet(running: &Running, data: Option<&Path>, out: &mut Out) -> Result<(), Failure> {
    let url = running.url();
    let kept = data.map_or_else(|| "a database".to_owned(), |data| data.display().to_string());
    out.line(format!("serving at {} from {kept}", styled(BOLD, &url)))?;
    let place = data.map(|data| format!(" --data {}", data.display())).unwrap_or_default();
    let step = |command: String, what: &str| format!("  {command}  {}", styled(DIM, format!("# {what}")));
    out.line(styled(CYAN, "next:"))?;
    out.line(step(format!("leverframe admin bootstrap{place}"), "once: prints the first token"))?;
    out.line(step(format!("open {url}/"), "the console"))?;
    out.line(step("Ctrl-C".to_owned(), "lets running requests end; again to end at once"))
}

fn options(args: &ServeArgs) -> Result<ServeOptions, Failure> {
    let mut options = ServeOptions::from_environment()?;
    place(&args.store, &mut options)?;
    if let Some(listen) = &args.listen {
        options.listen.clone_from(listen);
    }
    if let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) {
        options.tls = Some(TlsFiles::new(chain, key));
    }
    if let Some(path) = &args.metrics_token_file {
        options.metrics_token = Some(secret_file("read the token for metrics", path)?);
    }
    master_key(&args.master_key, &mut options);
    if let Some(path) = &args.issuers_file {
        options.issuers_file = Some(path.clone());
    }
    Ok(options)
}

/// Settles where the store is: arguments go before the environment.
pub(super) fn place(args: &StoreArgs, options: &mut ServeOptions) -> Result<(), Failure> {
    if let Some(data) = &args.data {
        options.data.clone_from(data);
    }
    let variable = || ambient_environment(&[DATABASE_URL]).into_iter().map(|(_, url)| url).next();
    let named = match (&args.database, &args.database_file) {
        (Some(url), _) => Some(Secret::new(url)),
        (None, Some(path)) => Some(secret_file("read the URL of the database", path)?),
        (None, None) => variable().filter(|url| !url.expose().is_empty()),
    };
    options.database = named.or(options.database.take());
    Ok(())
}

/// Returns the master keys of a store: of the file that is named, or else of what the environment says, or of the data
/// directory.
pub(super) async fn keyring(
    args: &MasterKeyArgs,
    options: &ServeOptions,
    store: &dyn SettingsStore,
) -> Result<Keyring, Failure> {
    let mut options = options.clone();
    master_key(args, &mut options);
    options.keyring_for(store).await?.ok_or_else(|| {
        Failure::usage("no master key is given").with_hint(
            "name a file that every server has with `--master-key-file`, or set LEVERFRAME_MASTER_KEY_FILE",
        )
    })
}

fn master_key(args: &MasterKeyArgs, options: &mut ServeOptions) {
    if let Some(path) = &args.master_key_file {
        options.master_key_file = Some(path.clone());
    }
}

const DATABASE_URL: &str = "LEVERFRAME_DATABASE_URL";

/// Sends what the server logs to standard error.
fn log(format: LogFormat) -> Result<(), Failure> {
    let set = ambient_environment(&["LEVERFRAME_LOG", "RUST_LOG"]);
    let value = |name: &str| {
        let found = set.iter().find(|(key, value)| key == name && !value.expose().is_empty());
        found.map(|(_, value)| value.expose().to_owned())
    };
    let wanted = value("LEVERFRAME_LOG").or_else(|| value("RUST_LOG")).unwrap_or_else(|| "info".to_owned());
    let mut filter = EnvFilter::try_new(&wanted).map_err(|error| {
        Failure::usage(format!("LEVERFRAME_LOG or RUST_LOG cannot be understood: {error}"))
            .with_hint("write it as info, or as info,leverframe_server=debug")
    })?;
    // These print whole headers and statements below this level, tokens and passwords among them.
    for library in ["h2", "hyper", "hyper_util", "rustls", "tokio_postgres"] {
        let directive = format!("{library}=info").parse::<Directive>();
        filter = filter.add_directive(directive.map_err(|error| Failure::new(exit::IO, error.to_string()))?);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Human => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| Error::new(ErrorKind::Io, "start the log").with("cause", error).into())
}
