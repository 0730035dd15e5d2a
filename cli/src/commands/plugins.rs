//! `leverframe plugins`

use leverframe::registry::Registry;
use serde_json::{Value, json};

use crate::{
    args::{Format, FormatArgs},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled},
};

pub(super) fn run(args: &FormatArgs, out: &mut Out) -> Result<u8, Failure> {
    let list = Registry::discover()?.list();
    match args.format {
        Format::Human => {
            out.line(styled(BOLD, format!("{:<10} {:<14} {:<14} {}", "kind", "name", "origin", "summary")))?;
            for p in &list {
                out.line(format!("{:<10} {:<14} {:<14} {}", p.kind, p.name, p.origin, p.summary))?;
            }
        }
        Format::Json => {
            let plugins: Vec<Value> = list
                .iter()
                .map(|p| json!({ "kind": p.kind, "name": p.name, "origin": p.origin, "summary": p.summary }))
                .collect();
            Envelope::new("plugins", json!({}), "registry").write(out, json!({ "plugins": plugins }))?;
        }
    }
    Ok(exit::OK)
}
