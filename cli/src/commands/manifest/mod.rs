//! `leverframe manifest`: archives of a namespace, and its versions on a server.

mod archive;
mod remote;

use crate::{args::ManifestCommand, failure::Failure, output::Out};

pub(super) fn run(command: &ManifestCommand, out: &mut Out) -> Result<u8, Failure> {
    match command {
        ManifestCommand::Pack { dir, output } => archive::pack(dir, output.as_deref(), out),
        ManifestCommand::Unpack { archive, dir } => archive::unpack(archive, dir, out),
        ManifestCommand::Push(args) => remote::push(args, out),
        ManifestCommand::Pull(args) => remote::pull(args, out),
        ManifestCommand::Versions(args) => remote::versions(args, out),
        ManifestCommand::Diff(args) => remote::diff(args, out),
        ManifestCommand::Rollback(args) => remote::rollback(args, out),
    }
}
