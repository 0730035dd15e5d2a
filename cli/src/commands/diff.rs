//! `leverframe diff`

use leverframe::{eval::Share, manifest::Diff};
use serde_json::json;

use crate::{
    args::{DiffArgs, Format},
    failure::{Failure, exit},
    output::{Envelope, Out, RED, styled},
    place::Place,
};

pub(super) fn run(args: &DiffArgs, out: &mut Out) -> Result<u8, Failure> {
    let bound = match &args.max_moved {
        Some(text) => Some(Share::percent(text).ok_or_else(|| {
            Failure::usage(format!("`--max-moved {text}` is no percentage"))
                .with_hint("write it as 5% or 0.25%")
        })?),
        None => None,
    };
    let old = Place::checked(&args.old, out)?;
    let new = Place::checked(&args.new, out)?;
    let diff = Diff::between(&old.manifest, &new.manifest);
    match args.format.format {
        Format::Human => out.text(diff.to_string())?,
        Format::Json => {
            let inputs = json!({ "old": args.old, "new": args.new, "max_moved": args.max_moved });
            Envelope::new("diff", inputs, &args.new).write(out, diff.to_json())?;
        }
    }
    let Some(bound) = bound else { return Ok(exit::OK) };
    let moved = diff.max_moved()?;
    if moved > bound {
        out.note(format!("{}: {moved} of the buckets move, more than {bound}", styled(RED, "error")));
        return Ok(exit::BAD);
    }
    Ok(exit::OK)
}
