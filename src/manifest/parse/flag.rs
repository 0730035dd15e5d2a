//! `flags/<key>.toml`.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;
use toml::de::DeValue;

use super::{
    SegmentUse, Span, Uses,
    fields::{File, Root, Table, Value, a_type, float, integer, shown},
    predicate::Predicates,
};
use crate::manifest::{
    lint::{
        codes::{
            E004, E012, E013, E014, E015, E017, E026, E027, E028, E029, E030, E036, E037, E038, E039, I001,
            I002, W002, W003, W012,
        },
        findings::{did_you_mean, listed},
    },
    model::{Audience, EnvBlock, Flag, FlagType, FlagValue, Lifecycle, Rule, Variant},
    names,
};

/// What a flag file says.
#[derive(Debug)]
pub(crate) struct FlagFile {
    pub(crate) flag: Flag,
    pub(crate) uses: Uses,
    /// The named environments' blocks in order, then the catch-all's.
    pub(crate) places: Vec<BlockPlaces>,
}

/// Where the parts of an environment's block stand.
#[derive(Debug)]
pub(crate) struct BlockPlaces {
    pub(crate) name: Span,
    pub(crate) rules: Vec<Span>,
}

pub(crate) fn parse_flag(file: &mut File<'_>, key: &str, root: &Root<'_>) -> Option<FlagFile> {
    let root = root.table();
    file.only_known(&root, &["schema_version", "flag"]);
    let table = file.table(&root, "flag", true)?;
    file.only_known(
        &table,
        &[
            "type",
            "description",
            "owner",
            "lifecycle",
            "tags",
            "private_attributes",
            "variants",
            "environments",
        ],
    );
    let mut reader = FlagReader {
        file,
        key,
        uses: Uses::default(),
        places: Vec::new(),
        variants: Vec::new(),
        known: HashSet::new(),
    };
    reader.read(&table)
}

struct FlagReader<'f, 't> {
    file: &'f mut File<'t>,
    key: &'f str,
    uses: Uses,
    places: Vec<BlockPlaces>,
    /// The declared keys, also those whose values are wrong, so that one mistake is told once.
    variants: Vec<String>,
    known: HashSet<String>,
}

impl FlagReader<'_, '_> {
    fn read(&mut self, table: &Table<'_, '_>) -> Option<FlagFile> {
        let flag_type = self.flag_type(table);
        let description = self.file.string(table, "description").map_or("", |(text, _)| text);
        let owner = self.file.string(table, "owner").map_or("", |(text, _)| text);
        if owner.trim().is_empty() {
            let message = format!("flag '{}' has no owner", self.key);
            self.file.findings.add_help(
                I001,
                table.span.clone(),
                message,
                "name the team that decides about it",
            );
        }
        if description.trim().is_empty() {
            let message = format!("flag '{}' has no description", self.key);
            self.file.findings.add_help(I002, table.span.clone(), message, "say what it switches");
        }
        let lifecycle = self.lifecycle(table);
        let tags = self.file.strings(table, "tags");
        let private_attributes = self.file.strings(table, "private_attributes");
        let variants = self.variants(table, flag_type);
        let (catch_all, environments) = self.environments(table);
        self.check_rules(table, lifecycle, &environments, catch_all.as_ref());
        Some(FlagFile {
            flag: Flag {
                key: self.key.to_owned(),
                flag_type: flag_type?,
                description: description.to_owned(),
                owner: Some(owner).filter(|o| !o.trim().is_empty()).map(str::to_owned),
                lifecycle,
                tags,
                private_attributes,
                variants: variants?,
                catch_all: catch_all?,
                environments,
            },
            uses: std::mem::take(&mut self.uses),
            places: std::mem::take(&mut self.places),
        })
    }

    fn flag_type(&mut self, table: &Table<'_, '_>) -> Option<FlagType> {
        let types = FlagType::ALL.map(FlagType::as_str);
        if table.get("type").is_none() {
            self.file.missing(E030, table, "type", &format!("one of {}", types.join(", ")));
            return None;
        }
        let (word, span) = self.file.string(table, "type")?;
        let found = FlagType::ALL.into_iter().find(|t| t.as_str() == word);
        if found.is_none() {
            let message = format!("flag '{}': unknown type `{}`", self.key, shown(word));
            let help = did_you_mean(word, types).unwrap_or_else(|| format!("one of {}", types.join(", ")));
            self.file.findings.add_help(E014, span, message, help);
        }
        found
    }

    fn lifecycle(&mut self, table: &Table<'_, '_>) -> Lifecycle {
        let Some((word, span)) = self.file.string(table, "lifecycle") else { return Lifecycle::default() };
        let stages = Lifecycle::ALL.map(Lifecycle::as_str);
        Lifecycle::ALL.into_iter().find(|stage| stage.as_str() == word).unwrap_or_else(|| {
            let message = format!("flag '{}': unknown lifecycle `{}`", self.key, shown(word));
            let help = did_you_mean(word, stages).unwrap_or_else(|| format!("one of {}", stages.join(", ")));
            self.file.findings.add_help(E026, span, message, help);
            Lifecycle::default()
        })
    }

    fn variants(&mut self, table: &Table<'_, '_>, flag_type: Option<FlagType>) -> Option<Vec<Variant>> {
        const HELP: &str = "declare at least one under `[flag.variants]`";
        let Some(value) = table.get("variants") else {
            self.file.missing(E013, table, "variants", HELP);
            return None;
        };
        let Some(inner) = value.get_ref().as_table() else {
            self.file.wrong_type(table, "variants", value, "a table");
            return None;
        };
        let inner = Table { table: inner, span: table.key_span("variants"), name: "variants" };
        if inner.table.is_empty() {
            let message = format!("flag '{}' declares no variants", self.key);
            self.file.findings.add_help(E013, inner.span.clone(), message, HELP);
            return None;
        }
        let mut variants = Vec::with_capacity(inner.table.len());
        for (key, span, value) in inner.entries() {
            self.variants.push(key.to_owned());
            self.known.insert(key.to_owned());
            if !names::is_variant_key(key) {
                let message = format!("flag '{}': malformed variant key `{}`", self.key, shown(key));
                self.file.findings.add_help(
                    E012,
                    span,
                    message,
                    "a variant key is `[a-z0-9][a-z0-9_-]*`, at most 63 characters",
                );
                continue;
            }
            if let Some(value) = flag_type.and_then(|t| self.variant_value(key, t, value)) {
                variants.push(Variant { key: key.to_owned(), value });
            }
        }
        (variants.len() == inner.table.len()).then_some(variants)
    }

    fn variant_value(&mut self, key: &str, flag_type: FlagType, value: Value<'_, '_>) -> Option<FlagValue> {
        let raw = value.get_ref();
        let read = match flag_type {
            FlagType::Boolean => raw.as_bool().map(FlagValue::Bool),
            FlagType::String => raw.as_str().map(FlagValue::from),
            FlagType::Integer => integer(raw).map(FlagValue::Int),
            // M7: an integer literal is accepted for a float.
            FlagType::Float => float(raw).or_else(|| integer(raw).map(|i| i as f64)).map(FlagValue::Float),
            FlagType::Json => json(raw).map(FlagValue::from),
        };
        if read.is_none() {
            let message = format!(
                "flag '{}': variant `{key}` must be {}, not {}",
                self.key,
                wanted(flag_type),
                found(raw)
            );
            self.file.findings.add(E015, value.span(), message);
        }
        read
    }

    fn environments(&mut self, table: &Table<'_, '_>) -> (Option<EnvBlock>, Vec<(String, EnvBlock)>) {
        const HELP: &str = "add `[flag.environments._]` with the variant that everybody gets by default";
        let missing = |reader: &mut Self, span: Span| {
            let message = format!("flag '{}' has no `[flag.environments._]`", reader.key);
            reader.file.findings.add_help(E037, span, message, HELP);
        };
        if table.get("environments").is_none() {
            missing(self, table.span.clone());
            return (None, Vec::new());
        }
        let Some(blocks) = self.file.table(table, "environments", false) else { return (None, Vec::new()) };
        let mut catch_all = None;
        let mut named = Vec::new();
        let mut catch_all_places = None;
        for (name, span, value) in blocks.entries() {
            if name != "_" && !names::is_environment(name) {
                let message = format!("flag '{}': malformed environment name `{}`", self.key, shown(name));
                self.file.findings.add_help(
                    E029,
                    span,
                    message,
                    "an environment is `[a-z][a-z0-9_-]*`, at most 63 characters",
                );
                continue;
            }
            let Some(inner) = value.get_ref().as_table() else {
                let message = format!("flag '{}': environment `{name}` must be a table", self.key);
                self.file.findings.add(E017, value.span(), message);
                continue;
            };
            let inner = Table { table: inner, span: span.clone(), name };
            let (block, rules) = self.block(&inner);
            let places = BlockPlaces { name: span, rules };
            if name == "_" {
                catch_all = Some(block);
                catch_all_places = Some(places);
            } else {
                named.push((name.to_owned(), block));
                self.places.push(places);
            }
        }
        self.places.extend(catch_all_places);
        if catch_all.is_none() && blocks.get("_").is_none() {
            missing(self, blocks.span);
        }
        (catch_all, named)
    }

    fn block(&mut self, table: &Table<'_, '_>) -> (EnvBlock, Vec<Span>) {
        self.file.only_known(table, &["variant", "rules", "testing"]);
        let catch_all = table.name == "_";
        let variant = self.file.string(table, "variant").map(|(key, span)| {
            self.check_variant(key, span, "");
            key.to_owned()
        });
        if catch_all && table.get("variant").is_none() {
            let message = format!("flag '{}': `[flag.environments._]` has no `variant`", self.key);
            self.file.findings.add_help(
                E038,
                table.span.clone(),
                message,
                "it is what everybody gets when nothing else decides",
            );
        }
        let mut places = Vec::new();
        let rules = table.get("rules").and_then(|value| match value.get_ref().as_array() {
            Some(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.rule(index, item, &mut places))
                    .collect::<Vec<_>>(),
            ),
            None => {
                self.file.wrong_type(table, "rules", value, "an array of tables");
                None
            }
        });
        let testing = self.file.boolean(table, "testing");
        match &testing {
            Some((true, span)) if catch_all => {
                let message = format!("flag '{}': `testing = true` on `_`", self.key);
                self.file.findings.add_help(E039, span.clone(), message, "gate a named environment instead");
            }
            Some((true, span))
                if rules.as_ref().is_none_or(Vec::is_empty) && table.get("rules").is_none() =>
            {
                let message =
                    format!("flag '{}': `testing = true` on `{}`, which has no rules", self.key, table.name);
                self.file.findings.add_help(
                    W012,
                    span.clone(),
                    message,
                    "it has nothing to gate: add rules, or remove it",
                );
            }
            _ => {}
        }
        (EnvBlock { variant, rules, testing: testing.is_some_and(|(on, _)| on) }, places)
    }

    fn rule(&mut self, index: usize, value: Value<'_, '_>, places: &mut Vec<Span>) -> Option<Rule> {
        let subject = format!("flag '{}' rule[{index}]", self.key);
        let Some(inner) = value.get_ref().as_table() else {
            self.file.findings.add(
                E017,
                value.span(),
                format!("{subject} must be a table, not {}", a_type(value.get_ref())),
            );
            return None;
        };
        let table = Table { table: inner, span: value.span(), name: "rule" };
        self.file.only_known(&table, &["segment", "predicate", "variant", "description"]);
        let description = self.file.string(&table, "description").map_or("", |(text, _)| text);
        let audience = match (table.get("segment"), table.get("predicate")) {
            (Some(_), Some(_)) => {
                let message = format!("{subject} has both `segment` and `predicate`");
                self.file.findings.add_help(
                    E036,
                    table.span.clone(),
                    message,
                    "move the segment into the predicate: `and = [{ segment = \"…\" }, …]`",
                );
                None
            }
            (None, None) => {
                let message = format!("{subject} has no audience");
                self.file.findings.add_help(
                    E027,
                    table.span.clone(),
                    message,
                    "add `segment = \"…\"` or `predicate = { … }`",
                );
                None
            }
            (Some(_), None) => self.file.string(&table, "segment").map(|(key, span)| {
                self.uses.segments.push(SegmentUse { key: key.to_owned(), span, subject: subject.clone() });
                Audience::Segment(key.to_owned())
            }),
            (None, Some(predicate)) => {
                Predicates { file: self.file, uses: &mut self.uses, subject: &subject }
                    .parse(predicate)
                    .map(Audience::Predicate)
            }
        };
        let variant = match table.get("variant") {
            Some(_) => self.file.string(&table, "variant"),
            None => {
                let message = format!("{subject} has no `variant`");
                self.file.findings.add_help(
                    E028,
                    table.span.clone(),
                    message,
                    "name the variant that its audience gets",
                );
                None
            }
        };
        if let Some((key, span)) = &variant {
            self.check_variant(key, span.clone(), &format!(" rule[{index}]"));
        }
        let rule =
            Rule { description: description.to_owned(), audience: audience?, variant: variant?.0.to_owned() };
        places.push(table.span);
        Some(rule)
    }

    fn check_variant(&mut self, key: &str, span: Span, place: &str) {
        if self.known.is_empty() || self.known.contains(key) || self.file.findings.leaves_out(E004) {
            return;
        }
        let message = format!("flag '{}'{place}: undeclared variant `{}`", self.key, shown(key));
        let help = did_you_mean(key, self.variants.iter().map(String::as_str))
            .unwrap_or_else(|| format!("declared: {}", listed(self.variants.iter().map(String::as_str))));
        self.file.findings.add_help(E004, span, message, help);
    }

    fn check_rules(
        &mut self,
        table: &Table<'_, '_>,
        lifecycle: Lifecycle,
        environments: &[(String, EnvBlock)],
        catch_all: Option<&EnvBlock>,
    ) {
        let blocks = environments.iter().map(|(_, block)| block).chain(catch_all);
        let any = blocks.filter_map(|block| block.rules.as_ref()).any(|rules| !rules.is_empty());
        let place =
            if lifecycle == Lifecycle::Retired { table.key_span("lifecycle") } else { table.span.clone() };
        match (any, lifecycle) {
            (true, Lifecycle::Retired) => {
                let message = format!("flag '{}' is retired and still has rules", self.key);
                self.file.findings.add_help(W002, place, message, "remove the rules, then the flag");
            }
            (false, _) => {
                let message = format!("flag '{}' has no rules in any environment", self.key);
                self.file.findings.add_help(
                    W003,
                    place,
                    message,
                    "it is a constant: add rules, or remove the flag when nobody reads it",
                );
            }
            (true, _) => {}
        }
    }
}

fn wanted(flag_type: FlagType) -> &'static str {
    match flag_type {
        FlagType::Boolean => "true or false",
        FlagType::String => "a string",
        FlagType::Integer => "an integer of 64 bits",
        FlagType::Float => "a finite float",
        FlagType::Json => "a table, array or scalar without date-times and with finite numbers",
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Integer(_) if integer(value).is_none() => "an integer beyond 64 bits",
        DeValue::Float(_) if float(value).is_none() => "a float that is not finite",
        other => a_type(other),
    }
}

/// TOML as JSON; `None` where something in it has no counterpart. The parser has bounded the nesting.
fn json(value: &DeValue<'_>) -> Option<Json> {
    match value {
        DeValue::String(text) => Some(Json::from(text.as_ref())),
        DeValue::Integer(_) => integer(value).map(Json::from),
        DeValue::Float(_) => float(value).map(Json::from),
        DeValue::Boolean(flag) => Some(Json::from(*flag)),
        DeValue::Datetime(_) => None,
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>().map(Json::from)
        }
        DeValue::Table(table) => {
            let entries: Option<BTreeMap<_, _>> = table
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), json(value.get_ref())?)))
                .collect();
            entries.map(|entries| Json::Object(entries.into_iter().collect()))
        }
    }
}
