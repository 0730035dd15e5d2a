//! What a command is started with.

use std::ffi::OsString;

use leverframe::NexusClient;

use super::folder::Folder;
use crate::{
    args::RunArgs,
    commands::settings::{Content, Variable, variables},
    failure::Failure,
};

/// Variables and files of one moment.
pub(super) struct Plan {
    pub(super) chosen: Vec<Variable>,
    /// The variables to be set.
    pub(super) set: Vec<(String, OsString)>,
    /// Variables that are set already, and stay as they are.
    pub(super) kept: Vec<String>,
}

impl Plan {
    pub(super) fn make(
        args: &RunArgs,
        client: &NexusClient,
        folder: Option<&Folder>,
    ) -> Result<Self, Failure> {
        let chosen = variables(&client.snapshot(), None, &args.names)?;
        let (mut set, mut kept) = (Vec::new(), Vec::new());
        for variable in &chosen {
            let value = match (&variable.content, folder) {
                // In files, and nowhere else.
                (Content::Text(_), Some(_)) => continue,
                (Content::Text(text), None) => OsString::from(text.expose()),
                (Content::File(_), Some(folder)) => folder.file(&variable.key)?.into_os_string(),
                (Content::File(_), None) => client.get_secret_file_path(&variable.key)?.into_os_string(),
            };
            if args.replace || !is_set(&variable.name) {
                set.push((variable.name.clone(), value));
            } else {
                kept.push(variable.name.clone());
            }
        }
        Ok(Self { chosen, set, kept })
    }

    /// Returns true if the command would not see a difference.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.chosen.len() == other.chosen.len()
            && self.chosen.iter().zip(&other.chosen).all(|(a, b)| a.is_same(b))
    }
}

/// Returns true if the command inherits a variable of that name.
#[expect(
    clippy::disallowed_methods,
    reason = "what a child inherits is no configuration, and need not be a text"
)]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}
