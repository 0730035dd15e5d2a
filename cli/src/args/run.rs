//! What `run` takes.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::{NamesArgs, ServiceArgs};
use crate::duration::pulse;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    /// Replace variables that are set already; they are kept otherwise
    #[arg(long = "override")]
    pub(crate) replace: bool,
    /// Put the settings into files of this folder, by their names, instead of into variables. It is made, readable by you
    /// only, and removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Start the command again when a setting that it has changes
    #[arg(long)]
    pub(crate) watch: bool,
    /// How long the command has from SIGTERM to SIGKILL when it is started again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = length, requires = "watch")]
    pub(crate) kill_after: Duration,
    /// How long changes are gathered before the command is started again
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = length, requires = "watch")]
    pub(crate) restart_delay: Duration,
    /// Leave LEVERFRAME_SETTINGS_KEY in the command's environment
    #[arg(long)]
    pub(crate) pass_key: bool,
    /// A folder for what the service last said, sealed, to start from while it cannot be had
    #[arg(long, value_name = "DIR", requires = "cache_key_file")]
    pub(crate) cache: Option<PathBuf>,
    /// A file that holds what that is sealed with, 32 characters or more
    #[arg(long, value_name = "FILE", requires = "cache")]
    pub(crate) cache_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) at: ServiceArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn length(text: &str) -> Result<Duration, String> {
    pulse(text).map(Duration::from_millis).ok_or_else(|| "write it as 10s, 500ms or 1m".to_owned())
}
