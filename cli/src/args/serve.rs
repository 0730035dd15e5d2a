//! What `serve` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::MasterKeyArgs;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes any that is free [default: 127.0.0.1:8080] [env: LEVERFRAME_SERVER_LISTEN,
    /// EXD_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// A PEM file with the certificate chain, for HTTPS; read again on SIGHUP [env: LEVERFRAME_SERVER_TLS_CERT]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The PEM file with its private key [env: LEVERFRAME_SERVER_TLS_KEY]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A file with the token that `/metrics` asks for [default: none, and only this host may ask]
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) master_key: MasterKeyArgs,
    /// A TOML file that says whose tokens are taken for sessions of settings [default: nobody's]
    /// [env: LEVERFRAME_SERVER_ISSUERS_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) issuers_file: Option<PathBuf>,
    /// How long running requests are given when the server is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) drain: u64,
    /// The form of the log on standard error; what is logged says LEVERFRAME_LOG, or else RUST_LOG [default: info]
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

/// Where a server keeps what survives a restart.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The folder of what survives a restart [default: leverframe-data] [env: LEVERFRAME_SERVER_DATA, EXD_DB_PATH]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The URL of a PostgreSQL database to be used instead of the embedded one [env: LEVERFRAME_DATABASE_URL]. Who lists
    /// processes sees a password in it: prefer a file or the environment
    #[arg(long, value_name = "URL", conflicts_with = "database_file")]
    pub(crate) database: Option<String>,
    /// A file that holds the URL of the database and nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) database_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Human,
    /// An object a line
    Json,
}
