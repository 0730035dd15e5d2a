//! Makes a limiter as `[limits.<name>]` says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::open::Entry;
use crate::{
    Error, ErrorKind, EvalContext, Result,
    config::LimitsSettings,
    gate::limiter::{AdaptiveLimiter, FlagLimit, LimitOptions, Priority},
    manifest::lint::did_you_mean,
    wiring::Wiring,
};

/// Makes the limiter of one table.
pub(super) fn open(
    wiring: &Wiring,
    namespaces: &BTreeMap<String, Arc<Entry>>,
    name: &str,
) -> Result<AdaptiveLimiter> {
    let key = format!("limits.{name}");
    let settings: LimitsSettings = wiring.config.read(&key)?;
    let wrong = |field: &str, reason: &str| {
        Error::new(ErrorKind::Config, "read the configuration")
            .with("key", format!("{key}.{field}"))
            .with("reason", reason)
    };
    // What is beyond any bound is refused with the bounds.
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let ceiling = Some(settings.baseline_ceiling_ms).filter(|ceiling| *ceiling > 0);
    let mut builder = AdaptiveLimiter::builder()
        .options(LimitOptions {
            initial: count(settings.initial),
            min: count(settings.min),
            max: count(settings.max),
            baseline_ceiling: ceiling.map(Duration::from_millis),
            ..LimitOptions::default()
        })
        .clock(Arc::clone(&wiring.clock));
    let tags = [
        (Priority::Critical, &settings.critical),
        (Priority::High, &settings.high),
        (Priority::Low, &settings.low),
    ];
    for (priority, tags) in tags {
        builder = builder.priorities(tags.iter().map(|tag| (tag, priority)));
    }
    if !settings.limit_flag.is_empty() {
        let Some(entry) = namespaces.get(&settings.flags) else {
            let hint = did_you_mean(&settings.flags, namespaces.keys().map(String::as_str));
            return Err(wrong("flags", "there is no `[flags.<name>]` of this name")
                .with("limit_flag", &settings.limit_flag)
                .hint(hint.unwrap_or_else(|| "set it to the name of a `[flags.<name>]`".to_owned())));
        };
        let mut context = EvalContext::builder();
        for pair in &settings.context {
            let Some((attribute, value)) = pair.split_once('=') else {
                return Err(wrong("context", "an entry has no `=`").hint("write `attribute=value`"));
            };
            context = context.str(attribute, value);
        }
        // In a dry run every evaluation gives its default, which here is the table's bounds.
        if !entry.dry_run {
            let (namespace, environment) = (&entry.namespace, &entry.environment);
            let flag = &settings.limit_flag;
            builder = builder.source(FlagLimit::of_namespace(namespace, environment, flag, context.build()));
        }
    }
    builder.build().map_err(|error| error.with("key", key))
}
