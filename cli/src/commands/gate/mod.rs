//! `leverframe gate`: what a fleet does, and what it may.

mod drawing;
mod set;
mod simulate;
mod status;

use leverframe::{ManifestError, ServerApi};
use serde_json::Value;

use crate::{
    args::{GateCommand, ServerArgs},
    failure::Failure,
    output::Out,
    reach::Reach,
};

pub(super) fn run(command: &GateCommand, out: &mut Out) -> Result<u8, Failure> {
    match command {
        GateCommand::Status(args) => status::run(args, out),
        GateCommand::Set(args) => set::set(args, out),
        GateCommand::Kill(args) => set::kill(args, out),
        GateCommand::Simulate(args) => simulate::run(args, out),
    }
}

/// The gate of a server.
struct Gate {
    url: String,
    api: ServerApi,
}

impl Gate {
    fn open(args: &ServerArgs) -> Result<Self, Failure> {
        let reach = Reach::of(args)?;
        Ok(Self { api: reach.api(args), url: reach.url })
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.api.get(path).await.map_err(failure)
    }
}

/// Checks that a name can stand in a path; what it must be like beyond that, the server knows.
pub(super) fn org(name: &str) -> Result<&str, Failure> {
    match leverframe::manifest::is_slug(name) {
        true => Ok(name),
        false => Err(Failure::usage(format!("`{}` is no organisation", name.escape_debug()))
            .with_hint("it is named like a tenant: `[a-z][a-z0-9-]*`, at most 63 characters")),
    }
}

/// Says of a refusal what the next step is here.
pub(super) fn failure(error: ManifestError) -> Failure {
    let status = match &error {
        ManifestError::Server { status, .. } => *status,
        _ => 0,
    };
    let failure = Failure::from(error);
    match status {
        401 => failure.with_hint("give a token that exists, is not expired and was not revoked"),
        403 => {
            failure.with_hint("give a superadmin's token, or that of the admin of the tenant of that name")
        }
        404 => failure.with_hint("`leverframe gate status` shows every organisation that the token sees"),
        409 => failure.with_hint("look at what is set now with `leverframe gate status`, and set it anew"),
        _ => failure,
    }
}
