//! `leverframe gate status`

use std::{future::Future, time::Duration};

use leverframe::{backends::clock_system::SystemClock, traits::Clock};
use serde_json::{Value, json};

use super::{Gate, drawing, failure, org};
use crate::{
    args::{Format, GateStatusArgs},
    failure::{Failure, exit},
    output::{Envelope, Out, YELLOW, styled},
    signals::{Asked, Signals},
};

/// As many organisations as are shown where none is named.
const MOST: usize = 100;

pub(super) fn run(args: &GateStatusArgs, out: &mut Out) -> Result<u8, Failure> {
    if !(args.interval.is_finite() && (0.1..=86_400.0).contains(&args.interval)) {
        return Err(Failure::usage(format!("`--interval {}` is no time to wait", args.interval))
            .with_hint("give seconds, such as 2 or 0.5"));
    }
    if let Some(name) = &args.org {
        org(name)?;
    }
    let gate = Gate::open(&args.at)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if !args.watch {
            let seen = look(&gate, args.org.as_deref()).await?;
            show(args, &gate, seen, out)?;
            return Ok(exit::OK);
        }
        watch(args, &gate, out).await
    })
}

/// Looks again and again; what fails after the first look is told and tried again.
async fn watch(args: &GateStatusArgs, gate: &Gate, out: &mut Out) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let clock = SystemClock::new();
    let (mut first, mut said) = (true, None);
    loop {
        let Some(seen) = unless_stopped(&mut signals, look(gate, args.org.as_deref())).await else {
            return Ok(exit::OK);
        };
        match seen {
            Err(error) if first || error.code() == exit::REFUSED => return Err(error),
            Err(error) => {
                let message = error.message().to_owned();
                if said.as_ref() != Some(&message) {
                    out.note(format!("{}: {message}", styled(YELLOW, "not refreshed")));
                    said = Some(message);
                }
            }
            Ok(seen) => {
                if args.at.format.format == Format::Human && out.draws() {
                    // Over what is there, line by line, so that nothing flickers; after a note from an empty screen.
                    let from = if first || said.is_some() { "\x1b[2J\x1b[H" } else { "\x1b[H" };
                    let lines: String =
                        draw(args, &seen).iter().map(|line| format!("{line}\x1b[K\n")).collect();
                    out.text(format!("{from}{lines}\x1b[J"))?;
                } else {
                    show(args, gate, seen, out)?;
                }
                (first, said) = (false, None);
            }
        }
        let pause = clock.sleep_until(clock.now() + Duration::from_secs_f64(args.interval));
        if unless_stopped(&mut signals, pause).await.is_none() {
            return Ok(exit::OK);
        }
    }
}

async fn unless_stopped<T>(signals: &mut Signals, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            asked = signals.next() => if asked == Asked::Stop { return None },
        }
    }
}

/// What was found: of each organisation what the server says.
struct Seen {
    orgs: Vec<Value>,
    /// Whether there are more than are shown.
    more: bool,
}

async fn look(gate: &Gate, org: Option<&str>) -> Result<Seen, Failure> {
    if let Some(org) = org {
        return Ok(Seen { orgs: vec![status(gate, org).await?], more: false });
    }
    let listed = gate.api.list("gate", "orgs", MOST + 1).await.map_err(failure)?;
    let mut orgs = Vec::new();
    for listed in listed.iter().take(MOST) {
        // Whoever the server is, no path is made of what is no name.
        let Ok(org) = super::org(listed["org"].as_str().unwrap_or_default()) else { continue };
        orgs.push(status(gate, org).await?);
    }
    Ok(Seen { orgs, more: listed.len() > MOST })
}

async fn status(gate: &Gate, org: &str) -> Result<Value, Failure> {
    let mut status = gate.get(&format!("gate/{org}")).await?;
    if let Some(fields) = status.as_object_mut() {
        fields.remove("request_id");
    }
    Ok(status)
}

fn show(args: &GateStatusArgs, gate: &Gate, mut seen: Seen, out: &mut Out) -> Result<(), Failure> {
    match args.at.format.format {
        Format::Human if seen.orgs.is_empty() => {
            out.note("nobody uses the gate yet; `leverframe admin gate-key create` makes the first key");
            Ok(())
        }
        Format::Human => draw(args, &seen).into_iter().try_for_each(|line| out.line(line)),
        Format::Json => {
            let inputs = json!({ "server": gate.url, "org": args.org });
            let result = match args.org {
                Some(_) => seen.orgs.pop().unwrap_or_default(),
                None => json!({ "orgs": seen.orgs, "more": seen.more }),
            };
            Envelope::new("gate-status", inputs, &gate.url).write(out, result)
        }
    }
}

fn draw(args: &GateStatusArgs, seen: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    for org in &seen.orgs {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.append(&mut drawing::org(org));
    }
    if seen.more {
        lines.push(format!("only the first {MOST} organisations are shown; name one with --org"));
    }
    if args.watch {
        lines.push(String::new());
    }
    lines
}
