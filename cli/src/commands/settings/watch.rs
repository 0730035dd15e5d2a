//! `leverframe settings watch`

use std::sync::mpsc;

use leverframe::settings::Change;
use serde_json::json;

use super::{reach, shown};
use crate::{
    args::{Format, SettingsWatchArgs},
    failure::{Failure, exit},
    output::{BOLD, DIM, Envelope, Out, plural, styled},
};

pub(super) fn run(args: &SettingsWatchArgs, out: &mut Out) -> Result<u8, Failure> {
    let (source, builder) = reach(&args.at)?;
    let client = builder.build()?;
    let (tell, told) = mpsc::channel();
    let _watching = client.on_change(move |change| {
        // Nobody listens once the command ends.
        let _ = tell.send(change.clone());
    });
    client.run_stream();
    let held = client.snapshot();
    let count = held.configs.len() + held.secrets.len() + held.flags.len();
    drop(held);
    out.note(format!("{}: {}; Ctrl-C ends", styled(BOLD, &source), plural(count, "setting")));
    let mut changes = 0;
    while args.changes.is_none_or(|most| changes < most) {
        let Ok(change) = told.recv() else { break };
        changes += 1;
        print(args, &source, &change, changes, out)?;
    }
    Ok(exit::OK)
}

fn print(
    args: &SettingsWatchArgs,
    source: &str,
    change: &Change,
    number: u64,
    out: &mut Out,
) -> Result<(), Failure> {
    if args.format.format == Format::Json {
        let result = json!({ "configs": change.configs, "secrets": change.secrets, "flags": change.flags });
        return Envelope::new("settings-watch", json!({ "change": number }), source).write(out, result);
    }
    let kinds = [("config", &change.configs), ("flag", &change.flags), ("secret", &change.secrets)];
    let keys =
        kinds.iter().flat_map(|(kind, keys)| keys.iter().map(move |key| format!("{kind} {}", shown(key))));
    let keys: Vec<String> = keys.collect();
    out.line(format!("{} {}", styled(DIM, format!("change {number}")), keys.join(", ")))
}
