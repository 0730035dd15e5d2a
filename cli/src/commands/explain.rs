//! `leverframe explain`

use leverframe::{
    EvalContext, EvalOptions,
    eval::WhyNot,
    manifest::model::{Audience, EnvBlock, Flag, Predicate, Rule, Segment},
};
use serde_json::{Map, Value, json};

use super::eval::{context_json, unknown};
use crate::{
    args::{ExplainArgs, Format},
    failure::{Failure, exit},
    output::{BOLD, DIM, Envelope, Out, plural, styled},
    place::{Checked, Place},
};

pub(super) fn run(args: &ExplainArgs, out: &mut Out) -> Result<u8, Failure> {
    let context = args.context.context()?;
    let checked = Place::checked(&args.manifest.manifest, out)?;
    if let Some(flag) = &args.flag
        && !checked.manifest.flags.contains_key(flag)
    {
        return Err(unknown(leverframe::EvalError::UnknownFlag { flag: flag.clone() }, &checked));
    }
    match args.manifest.format.format {
        Format::Human => human(args, &checked, &context, out)?,
        Format::Json => write_json(args, &checked, &context, out)?,
    }
    Ok(exit::OK)
}

/// The environments to walk: the one asked for, or each declared one, or the catch-all.
fn environments(args: &ExplainArgs, checked: &Checked) -> Vec<String> {
    match (&args.env, &checked.manifest.environments) {
        (Some(env), _) => vec![env.clone()],
        (None, Some(roster)) => roster.iter().map(|e| e.name.clone()).collect(),
        // Well-formed and named by no block, so it stands for every other one.
        (None, None) => vec![ANY.to_owned()],
    }
}

const ANY: &str = "any-other";

fn human(args: &ExplainArgs, checked: &Checked, context: &EvalContext, out: &mut Out) -> Result<(), Failure> {
    let Some(key) = &args.flag else { return overview(args, checked, out) };
    let flag = &checked.manifest.flags[key];
    metadata(flag, checked, out)?;
    for env in environments(args, checked) {
        out.line("")?;
        out.line(styled(BOLD, format!("## environment {env}")))?;
        resolution(flag, &env, out)?;
        rules(flag, &env, out)?;
        closure(flag, &env, checked, out)?;
        required(flag, &env, checked, out)?;
        pitfalls(flag, &env, checked, out)?;
        if args.context.is_given() {
            out.line(styled(BOLD, "counterfactual"))?;
            let options = args.context.options();
            let trace =
                checked.program.trace(key, &env, context, &options).map_err(|e| unknown(e, checked))?;
            for line in trace.to_string().lines() {
                out.line(format!("  {line}"))?;
            }
            why_not(args, key, &env, checked, context, out)?;
        } else if let Err(error) = checked.program.evaluate(key, &env, context, &EvalOptions::new()) {
            out.note(unknown(error, checked).message());
        }
    }
    out.line("")?;
    notes(flag, out)
}

/// The nearest change of context that would select another variant, and does.
fn why_not(
    args: &ExplainArgs,
    flag: &str,
    env: &str,
    checked: &Checked,
    context: &EvalContext,
    out: &mut Out,
) -> Result<(), Failure> {
    let options = args.context.options();
    let search = WhyNot::of(&checked.manifest, &checked.program, flag, env, context, &options)?;
    out.line(styled(BOLD, "nearest change of context"))?;
    match search.nearest(args.want.as_deref())? {
        Some(change) => {
            for step in &change.steps {
                out.line(format!("  {step}"))?;
            }
            out.line(format!("  → {} ({})", change.variant, change.rule_matched))
        }
        None => out.line(match &args.want {
            Some(wanted) => format!("  no context selects `{wanted}`, or it is the present one"),
            None => "  none: every context gets this variant".to_owned(),
        }),
    }
}

fn metadata(flag: &Flag, checked: &Checked, out: &mut Out) -> Result<(), Failure> {
    let title = format!("# {} ({})", flag.key, flag.flag_type);
    out.line(format!(
        "{}  {}",
        styled(BOLD, title),
        styled(DIM, checked.fingerprint.short(&checked.manifest.slug))
    ))?;
    if !flag.description.is_empty() {
        out.line(&flag.description)?;
    }
    let owner = flag.owner.as_deref().unwrap_or("nobody");
    let tags =
        if flag.tags.is_empty() { String::new() } else { format!(" · tags {}", flag.tags.join(", ")) };
    out.line(format!("owner {owner} · lifecycle {}{tags}", flag.lifecycle.as_str()))?;
    out.line(styled(BOLD, "variants"))?;
    for variant in &flag.variants {
        out.line(format!("  {} = {}", variant.key, variant.value))?;
    }
    Ok(())
}

/// The rules in force, and the block they stand in.
fn in_force<'f>(flag: &'f Flag, env: &str) -> (&'f str, &'f EnvBlock, &'f [Rule]) {
    match flag.environments.iter().find(|(name, _)| name == env) {
        Some((name, block)) if block.rules.is_some() || block.variant.is_some() => {
            (name, block, block.rules.as_deref().unwrap_or_default())
        }
        _ => ("_", &flag.catch_all, flag.catch_all.rules.as_deref().unwrap_or_default()),
    }
}

fn resolution(flag: &Flag, env: &str, out: &mut Out) -> Result<(), Failure> {
    out.line(styled(BOLD, "resolution"))?;
    let block = flag.block(env);
    let fallback = flag.catch_all.variant.as_deref().unwrap_or_default();
    let step = |n: u8, text: String| format!("  {n}. {text}");
    match block.and_then(|b| b.rules.as_ref().map(|rules| (b, rules))) {
        Some((b, rules)) if b.testing => {
            out.line(step(
                1,
                format!(
                    "{} of `{env}`, only for callers that opt in to testing",
                    plural(rules.len(), "rule")
                ),
            ))?;
        }
        Some((_, rules)) => {
            out.line(step(1, format!("{} of `{env}`, first match wins", plural(rules.len(), "rule"))))?
        }
        None => out.line(step(1, format!("`{env}` declares no rules")))?,
    }
    match block.and_then(|b| b.variant.as_ref()) {
        Some(variant) => {
            out.line(step(2, format!("else `{env}` gives `{variant}`")))?;
            out.line(step(3, "the catch-all's rules are left aside".to_owned()))?;
            return out.line(step(4, "the catch-all's variant is left aside".to_owned()));
        }
        None => out.line(step(2, format!("`{env}` declares no variant")))?,
    }
    if block.is_some_and(|b| b.rules.is_some()) {
        out.line(step(3, format!("the catch-all's rules are left aside: `{env}` declared its own")))?;
    } else {
        let rules = flag.catch_all.rules.as_ref().map_or(0, Vec::len);
        out.line(step(3, format!("{} of the catch-all, first match wins", plural(rules, "rule"))))?;
    }
    out.line(step(4, format!("else the catch-all gives `{fallback}`")))
}

fn rules(flag: &Flag, env: &str, out: &mut Out) -> Result<(), Failure> {
    let (block, _, rules) = in_force(flag, env);
    out.line(styled(BOLD, format!("rules of [flag.environments.{block}]")))?;
    if rules.is_empty() {
        out.line("  none")?;
    }
    for (index, rule) in rules.iter().enumerate() {
        out.line(format!("  rule[{index}] {} → {}", audience(&rule.audience), rule.variant))?;
        if !rule.description.is_empty() {
            out.line(styled(DIM, format!("          {}", rule.description)))?;
        }
    }
    Ok(())
}

/// The segments that the rules in force reach, each once, in order of their keys.
fn reached<'c>(flag: &Flag, env: &str, checked: &'c Checked) -> Vec<&'c Segment> {
    let mut pending: Vec<&str> = Vec::new();
    for rule in in_force(flag, env).2 {
        match &rule.audience {
            Audience::Segment(key) => pending.push(key),
            Audience::Predicate(predicate) => segments_of(predicate, &mut pending),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    let mut pending: Vec<String> = pending.into_iter().map(str::to_owned).collect();
    while let Some(key) = pending.pop() {
        if let Some(segment) = checked.manifest.segments.get(&key)
            && seen.insert(key)
        {
            let mut inner = Vec::new();
            if let Some(predicate) = &segment.predicate {
                segments_of(predicate, &mut inner);
            }
            pending.extend(inner.into_iter().map(str::to_owned));
            found.push(segment);
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

fn segments_of<'p>(predicate: &'p Predicate, found: &mut Vec<&'p str>) {
    match predicate {
        Predicate::And(nodes) | Predicate::Or(nodes) => {
            nodes.iter().for_each(|node| segments_of(node, found))
        }
        Predicate::Not(node) => segments_of(node, found),
        Predicate::Segment(key) => found.push(key),
        Predicate::Atom(_) => {}
    }
}

fn closure(flag: &Flag, env: &str, checked: &Checked, out: &mut Out) -> Result<(), Failure> {
    out.line(styled(BOLD, "segments"))?;
    let segments = reached(flag, env, checked);
    if segments.is_empty() {
        out.line("  none")?;
    }
    for segment in segments {
        out.line(format!("  {}: {}", segment.key, members(segment)))?;
    }
    Ok(())
}

fn members(segment: &Segment) -> String {
    let predicate = segment.predicate.as_ref().map(words);
    let bucket = segment.bucket.as_ref().map(|b| {
        let share = f64::from(b.end - b.start + 1) / 100.0;
        format!(
            "{share} % by {} (buckets {}–{}, salt {:?})",
            b.entity_id_attribute,
            b.start,
            b.end,
            b.effective_salt(&segment.key)
        )
    });
    [predicate, bucket].into_iter().flatten().collect::<Vec<_>>().join(", and ")
}

fn attributes_of<'p>(predicate: &'p Predicate, found: &mut Vec<&'p str>) {
    match predicate {
        Predicate::And(nodes) | Predicate::Or(nodes) => {
            nodes.iter().for_each(|node| attributes_of(node, found))
        }
        Predicate::Not(node) => attributes_of(node, found),
        Predicate::Segment(_) => {}
        Predicate::Atom(atom) => found.push(&atom.attribute),
    }
}

fn read_attributes<'c>(flag: &'c Flag, env: &str, checked: &'c Checked) -> Vec<&'c str> {
    let mut found = Vec::new();
    for rule in in_force(flag, env).2 {
        if let Audience::Predicate(predicate) = &rule.audience {
            attributes_of(predicate, &mut found);
        }
    }
    for segment in reached(flag, env, checked) {
        if let Some(predicate) = &segment.predicate {
            attributes_of(predicate, &mut found);
        }
        found.extend(segment.bucket.as_ref().map(|b| b.entity_id_attribute.as_str()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn required(flag: &Flag, env: &str, checked: &Checked, out: &mut Out) -> Result<(), Failure> {
    out.line(styled(BOLD, "context that is read"))?;
    let attributes = read_attributes(flag, env, checked);
    if attributes.is_empty() {
        out.line("  nothing: the result is the same for everybody")?;
    }
    for attribute in attributes {
        let inferred = checked.manifest.attributes.get(attribute).map_or("any", |t| t.as_str());
        out.line(format!("  {attribute} {inferred}"))?;
    }
    Ok(())
}

fn pitfalls(flag: &Flag, env: &str, checked: &Checked, out: &mut Out) -> Result<(), Failure> {
    let (name, block, rules) = in_force(flag, env);
    let mut list = Vec::new();
    if block.testing {
        list.push("the rules are invisible to callers that do not opt in to testing".to_owned());
    }
    if rules.is_empty() {
        list.push("there is no rule: everybody gets the same variant".to_owned());
    }
    if name != "_" && block.rules.is_some() && flag.catch_all.rules.as_ref().is_some_and(|r| !r.is_empty()) {
        list.push("the catch-all's rules do not apply here".to_owned());
    }
    for segment in reached(flag, env, checked) {
        if let Some(bucket) = &segment.bucket {
            list.push(format!(
                "without a string in `{}` nobody is in `{}`",
                bucket.entity_id_attribute, segment.key
            ));
        }
    }
    out.line(styled(BOLD, "pitfalls"))?;
    if list.is_empty() {
        out.line("  none")?;
    }
    list.iter().try_for_each(|line| out.line(format!("  {line}")))
}

fn notes(flag: &Flag, out: &mut Out) -> Result<(), Failure> {
    out.line(styled(BOLD, "notes"))?;
    out.line("  of a missing attribute every test is false but `is_not_set`")?;
    if !flag.private_attributes.is_empty() {
        out.line(format!("  kept out of telemetry: {}", flag.private_attributes.join(", ")))?;
    }
    Ok(())
}

fn overview(args: &ExplainArgs, checked: &Checked, out: &mut Out) -> Result<(), Failure> {
    let manifest = &checked.manifest;
    let title = format!("# namespace {}", manifest.slug);
    out.line(format!("{}  {}", styled(BOLD, title), styled(DIM, checked.fingerprint.short(&manifest.slug))))?;
    out.line(styled(BOLD, "segments"))?;
    for segment in manifest.segments.values() {
        out.line(format!("  {}: {}", segment.key, members(segment)))?;
    }
    out.line(styled(BOLD, "segment → flags"))?;
    for key in manifest.segments.keys() {
        let users: Vec<&str> = users_of(key, checked).collect();
        out.line(format!(
            "  {key}: {}",
            if users.is_empty() { "none".to_owned() } else { users.join(", ") }
        ))?;
    }
    for env in environments(args, checked) {
        out.line(styled(BOLD, format!("flags in {env}")))?;
        for flag in manifest.flags.values() {
            let (name, block, rules) = in_force(flag, &env);
            let default =
                block.variant.as_ref().or(flag.catch_all.variant.as_ref()).map_or("", String::as_str);
            let gate = if block.testing { " (testing)" } else { "" };
            let from = if name == "_" { " from the catch-all" } else { "" };
            out.line(format!("  {}: {}{gate}{from}, else {default}", flag.key, plural(rules.len(), "rule")))?;
        }
    }
    Ok(())
}

fn users_of<'c>(segment: &'c str, checked: &'c Checked) -> impl Iterator<Item = &'c str> {
    checked
        .manifest
        .flags
        .values()
        .filter(move |flag| {
            let blocks = flag.environments.iter().map(|(name, _)| name.as_str()).chain(["_"]);
            blocks.into_iter().any(|env| reached(flag, env, checked).iter().any(|s| s.key == segment))
        })
        .map(|flag| flag.key.as_str())
}

fn audience(audience: &Audience) -> String {
    match audience {
        Audience::Segment(key) => format!("segment `{key}`"),
        Audience::Predicate(predicate) => words(predicate),
    }
}

fn words(predicate: &Predicate) -> String {
    let join = |nodes: &[Predicate], word: &str| {
        let parts: Vec<String> = nodes
            .iter()
            .map(|node| match node {
                Predicate::And(inner) | Predicate::Or(inner) if inner.len() > 1 => {
                    format!("({})", words(node))
                }
                _ => words(node),
            })
            .collect();
        parts.join(word)
    };
    match predicate {
        Predicate::And(nodes) => join(nodes, " and "),
        Predicate::Or(nodes) => join(nodes, " or "),
        Predicate::Not(node) => format!("not ({})", words(node)),
        Predicate::Segment(key) => format!("segment `{key}`"),
        Predicate::Atom(atom) => {
            let operands: Vec<String> = atom.operands.iter().map(ToString::to_string).collect();
            let shown = match (atom.op.as_str(), operands.as_slice()) {
                (_, []) => String::new(),
                ("in" | "not_in", many) => format!(" [{}]", many.join(", ")),
                (_, [one, ..]) => format!(" {one}"),
            };
            format!("{} {}{shown}", atom.attribute, atom.op)
        }
    }
}

fn write_json(
    args: &ExplainArgs,
    checked: &Checked,
    context: &EvalContext,
    out: &mut Out,
) -> Result<(), Failure> {
    let inputs = json!({
        "flag": args.flag,
        "environment": args.env,
        "manifest": args.manifest.manifest,
        "context": context_json(context),
    });
    let query = match (&args.flag, &args.env) {
        (Some(_), Some(_)) => "explain",
        (Some(_), None) => "explain-envs",
        (None, _) => "explain-all",
    };
    let engine = if args.context.is_given() { "static+ctx" } else { "static" };
    let envelope = Envelope::new(query, inputs, &args.manifest.manifest).engine(engine).version(1);
    let flags: Vec<&Flag> = match &args.flag {
        Some(key) => vec![&checked.manifest.flags[key]],
        None => checked.manifest.flags.values().collect(),
    };
    let mut explained = Map::new();
    for flag in flags {
        let mut envs = Map::new();
        for env in environments(args, checked) {
            envs.insert(env.clone(), environment_json(args, flag, &env, checked, context)?);
        }
        let mut value = flag_json(flag);
        match (&args.env, args.flag.is_some()) {
            (Some(env), true) => value["resolution"] = envs.remove(env).unwrap_or_default(),
            _ => value["envs"] = Value::Object(envs),
        }
        explained.insert(flag.key.clone(), value);
    }
    let result = match &args.flag {
        Some(key) => explained.remove(key).unwrap_or_default(),
        None => {
            let segments: Map<String, Value> = checked
                .manifest
                .segments
                .values()
                .map(|s| (s.key.clone(), json!({ "members": members(s), "flags": users_of(&s.key, checked).collect::<Vec<_>>() })))
                .collect();
            json!({ "namespace": checked.manifest.slug, "segments": segments, "flags": explained })
        }
    };
    envelope.write(out, result)
}

fn flag_json(flag: &Flag) -> Value {
    let variants: Map<String, Value> =
        flag.variants.iter().map(|v| (v.key.clone(), v.value.to_json())).collect();
    json!({
        "flag": flag.key,
        "type": flag.flag_type.as_str(),
        "description": flag.description,
        "owner": flag.owner,
        "lifecycle": flag.lifecycle.as_str(),
        "tags": flag.tags,
        "variants": variants,
    })
}

fn environment_json(
    args: &ExplainArgs,
    flag: &Flag,
    env: &str,
    checked: &Checked,
    context: &EvalContext,
) -> Result<Value, Failure> {
    let (block, in_block, rules) = in_force(flag, env);
    let list: Vec<Value> =
        rules.iter().map(|r| json!({ "audience": audience(&r.audience), "variant": r.variant, "description": r.description })).collect();
    let read: Map<String, Value> = read_attributes(flag, env, checked)
        .into_iter()
        .map(|a| (a.to_owned(), json!(checked.manifest.attributes.get(a).map(|t| t.as_str()))))
        .collect();
    let mut value = json!({
        "block": block,
        "testing": in_block.testing,
        "rules": list,
        "default": in_block.variant.as_ref().or(flag.catch_all.variant.as_ref()),
        "segments": reached(flag, env, checked).iter().map(|s| s.key.as_str()).collect::<Vec<_>>(),
        "context": read,
    });
    if args.context.is_given() {
        let trace = checked
            .program
            .trace(&flag.key, env, context, &args.context.options())
            .map_err(|e| unknown(e, checked))?;
        value["trace"] = trace.to_json();
        let options = args.context.options();
        let search = WhyNot::of(&checked.manifest, &checked.program, &flag.key, env, context, &options)?;
        value["nearest_change"] = search.nearest(args.want.as_deref())?.map_or(Value::Null, |change| {
            json!({
                "context": context_json(&change.context),
                "variant": change.variant,
                "rule_matched": change.rule_matched.to_string(),
                "steps": change.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
    }
    Ok(value)
}
