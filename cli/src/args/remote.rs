//! What commands that talk to a server take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use leverframe::{HttpBackend, VersionRef};

use super::FormatArgs;

/// Which server, and as whom.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's address, such as https://flags.example.com [env: LEVERFRAME_SERVER_URL, EXD_SERVER_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The token [env: LEVERFRAME_API_TOKEN, EXD_API_TOKEN]. Who lists processes sees it here: prefer a file or the
    /// environment
    #[arg(long, value_name = "SECRET", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file that holds the token and nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How requests travel [default: what the environment says, else in-process]
    #[arg(long, value_enum, value_name = "BACKEND")]
    pub(crate) http_backend: Option<Backend>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// And for which tenant.
#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    #[command(flatten)]
    pub(crate) at: ServerArgs,
    /// The tenant [default: the token's own; superadmins have none]
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Backend {
    /// The `curl` program, with what ~/.curlrc says
    Curl,
    /// From this process
    InProcess,
}

impl From<Backend> for HttpBackend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Curl => Self::Curl,
            Backend::InProcess => Self::InProcess,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The namespace, or the tenant and the namespace
    #[arg(value_name = "[TENANT/]NAMESPACE")]
    pub(crate) namespace: String,
    /// The directory of the namespace
    pub(crate) dir: PathBuf,
    /// Push only while this version is the current one; 0 before the first
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The namespace, or the tenant and the namespace
    #[arg(value_name = "[TENANT/]NAMESPACE")]
    pub(crate) namespace: String,
    /// The directory to write into [default: the namespace]
    pub(crate) dir: Option<PathBuf>,
    /// The version
    #[arg(long, value_name = "N|latest", default_value = "latest", value_parser = version)]
    pub(crate) version: VersionRef,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// The namespace, or the tenant and the namespace
    #[arg(value_name = "[TENANT/]NAMESPACE")]
    pub(crate) namespace: String,
    /// Show at most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VersionDiffArgs {
    /// The namespace, or the tenant and the namespace
    #[arg(value_name = "[TENANT/]NAMESPACE")]
    pub(crate) namespace: String,
    /// The version as it was
    #[arg(value_name = "N", value_parser = version)]
    pub(crate) old: VersionRef,
    /// The version to compare it with
    #[arg(value_name = "N|latest", default_value = "latest", value_parser = version)]
    pub(crate) new: VersionRef,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The namespace, or the tenant and the namespace
    #[arg(value_name = "[TENANT/]NAMESPACE")]
    pub(crate) namespace: String,
    /// The version whose content becomes current again
    #[arg(value_name = "N")]
    pub(crate) version: u64,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

fn version(text: &str) -> Result<VersionRef, String> {
    text.parse().map_err(|_| "it is neither a number, such as 8, nor `latest`".to_owned())
}
