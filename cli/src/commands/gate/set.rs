//! `leverframe gate set|kill`

use leverframe::live::block_on;
use serde_json::{Map, Value, json};

use super::{Gate, drawing, failure, org};
use crate::{
    args::{Format, GateKillArgs, GateSetArgs, ServerArgs, Setting, Switch},
    failure::{Failure, exit},
    output::{BOLD, DIM, Envelope, GREEN, Out, RED, styled},
};

pub(super) fn set(args: &GateSetArgs, out: &mut Out) -> Result<u8, Failure> {
    let mut change = Map::new();
    if let Some(limit) = args.global {
        change.insert("global_max_weight".to_owned(), value(limit));
    }
    if !args.tags.is_empty() {
        let tags = args.tags.iter().map(|tag| (tag.tag.clone(), value(tag.limit))).collect();
        change.insert("tag_max_weights".to_owned(), Value::Object(tags));
    }
    if let Some(lease) = args.lease {
        change.insert("lease_duration_seconds".to_owned(), value(lease));
    }
    if let Some(interval) = args.pulse_interval {
        change.insert("pulse_interval".to_owned(), value(interval));
    }
    if let Some(status) = &args.status {
        let status = Some(status).filter(|status| !status.is_empty());
        change.insert("status".to_owned(), json!(status));
    }
    if change.is_empty() {
        return Err(Failure::usage("there is nothing to set")
            .with_hint("name at least one of --global, --tag, --lease, --pulse-interval and --status"));
    }
    if let Some(revision) = args.if_revision {
        change.insert("if_revision".to_owned(), json!(revision));
    }
    let asked = Asked { org: &args.org, site: args.site.as_deref(), at: &args.at };
    asked.send("gate-set", change, out, |settings| {
        vec![
            format!("{}: {}", asked.named(), drawing::limits(settings)),
            styled(DIM, "instances go by it from their next report on"),
        ]
    })
}

pub(super) fn kill(args: &GateKillArgs, out: &mut Out) -> Result<u8, Failure> {
    let on = args.switch == Switch::On;
    let asked = Asked { org: &args.org, site: args.site.as_deref(), at: &args.at };
    let change = Map::from_iter([("kill_signal".to_owned(), json!(on))]);
    asked.send("gate-kill", change, out, |_| {
        let site = asked.site.map(|site| format!(" --site {site}")).unwrap_or_default();
        let undo =
            format!("leverframe gate kill --org {} {}{site}", asked.org, if on { "off" } else { "on" });
        let (what, how) = match on {
            true => (styled(RED, "every call is refused"), ", from each instance's next report on"),
            false => (styled(GREEN, "limits decide again"), ", from each instance's next report on"),
        };
        vec![format!("{}: {what}{how}", asked.named()), format!("{} {undo}", styled(DIM, "undo:"))]
    })
}

/// What is to be changed, and where.
struct Asked<'a> {
    org: &'a str,
    site: Option<&'a str>,
    at: &'a ServerArgs,
}

impl Asked<'_> {
    fn named(&self) -> String {
        let site = self.site.map(|site| format!(", site {site}")).unwrap_or_default();
        format!("{}{site}", styled(BOLD, self.org))
    }

    fn send(
        &self,
        query: &'static str,
        mut change: Map<String, Value>,
        out: &mut Out,
        in_words: impl FnOnce(&Value) -> Vec<String>,
    ) -> Result<u8, Failure> {
        let path = format!("gate/{}", org(self.org)?);
        if let Some(site) = self.site {
            change.insert("site".to_owned(), json!(site));
        }
        let gate = Gate::open(self.at)?;
        let change = Value::Object(change);
        let mut answer = block_on(gate.api.patch(&path, &change)).map_err(failure)?;
        let settings = answer["settings"].take();
        match self.at.format.format {
            Format::Human => in_words(&settings).into_iter().try_for_each(|line| out.line(line))?,
            Format::Json => {
                let inputs =
                    json!({ "server": gate.url, "org": self.org, "site": self.site, "change": change });
                let result = json!({ "org": self.org, "site": self.site, "settings": settings });
                Envelope::new(query, inputs, &gate.url).write(out, result)?;
            }
        }
        Ok(exit::OK)
    }
}

fn value<T: Into<Value>>(setting: Setting<T>) -> Value {
    match setting {
        Setting::None => Value::Null,
        Setting::Some(value) => value.into(),
    }
}
