//! `segments/<key>.toml`.

use super::{
    AttributeUse, Span, Uses,
    fields::{File, Root, Table, a_type, integer},
    predicate::Predicates,
};
use crate::manifest::{
    lint::codes::{E006, E011, I003, W004},
    model::{AttrType, Bucket, Segment},
};

/// What a segment file says.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) segment: Segment,
    pub(crate) uses: Uses,
    /// Where `[segment]` stands.
    pub(crate) span: Span,
}

pub(crate) fn parse_segment(file: &mut File<'_>, key: &str, root: &Root<'_>) -> Option<SegmentFile> {
    let root = root.table();
    file.only_known(&root, &["schema_version", "segment"]);
    let table = file.table(&root, "segment", true)?;
    file.only_known(&table, &["description", "predicate", "bucket"]);
    let description = file.string(&table, "description").map_or("", |(text, _)| text);
    if description.trim().is_empty() {
        let message = format!("segment '{key}' has no description");
        file.findings.add_help(
            I003,
            table.span.clone(),
            message,
            "say who is in it, for those who come after",
        );
    }
    let mut uses = Uses::default();
    let predicate = table.get("predicate").and_then(|value| {
        Predicates { file, uses: &mut uses, subject: &format!("segment '{key}'") }.parse(value)
    });
    let bucket = match table.get("bucket") {
        Some(_) => {
            file.table(&table, "bucket", false).and_then(|bucket| parse_bucket(file, key, &bucket, &mut uses))
        }
        None => None,
    };
    if table.get("predicate").is_none() && table.get("bucket").is_none() {
        let message = format!("segment '{key}' has neither predicate nor bucket");
        file.findings.add_help(
            E011,
            table.span.clone(),
            message,
            "add `[segment.predicate]`, `[segment.bucket]`, or both",
        );
    }
    let segment = Segment { key: key.to_owned(), description: description.to_owned(), predicate, bucket };
    Some(SegmentFile { segment, uses, span: table.span })
}

fn parse_bucket(file: &mut File<'_>, key: &str, table: &Table<'_, '_>, uses: &mut Uses) -> Option<Bucket> {
    file.only_known(table, &["entity_id_attribute", "salt", "start", "end"]);
    let salt = file.string(table, "salt").map(|(text, _)| text).filter(|text| !text.is_empty());
    if salt.is_none() && table.get("salt").is_none_or(|value| value.get_ref().is_str()) {
        let message =
            format!("segment '{key}' has no salt: its key is used, so renaming it reassigns everybody");
        file.findings.add_help(W004, table.span.clone(), message, format!("add `salt = \"{key}\"`"));
    }
    let attribute = attribute(file, key, table, uses);
    let start = bound(file, key, table, "start");
    let end = bound(file, key, table, "end");
    let (attribute, (start, _), (end, span)) = (attribute?, start?, end?);
    if start > end {
        let message = format!("segment '{key}': `start` {start} lies behind `end` {end}");
        file.findings.add_help(
            E006,
            span,
            message,
            "both ends belong to the range: a tenth is `start = 0`, `end = 999`",
        );
        return None;
    }
    Some(Bucket { entity_id_attribute: attribute, salt: salt.map(str::to_owned), start, end })
}

fn attribute(file: &mut File<'_>, key: &str, table: &Table<'_, '_>, uses: &mut Uses) -> Option<String> {
    const FIELD: &str = "entity_id_attribute";
    const HELP: &str = "name the context attribute that identifies an entity, such as `user.id`";
    let found = match table.get(FIELD) {
        Some(_) => file.string(table, FIELD)?,
        None => ("", table.span.clone()),
    };
    if found.0.is_empty() {
        let message = format!("segment '{key}': `{FIELD}` is missing or empty");
        file.findings.add_help(E006, found.1, message, HELP);
        return None;
    }
    let attribute = found.0.to_owned();
    uses.attributes.push(AttributeUse {
        attribute: attribute.clone(),
        implied: AttrType::String,
        span: found.1,
    });
    Some(attribute)
}

fn bound(file: &mut File<'_>, key: &str, table: &Table<'_, '_>, field: &str) -> Option<(u16, Span)> {
    const HELP: &str = "buckets run from 0 to 9999, both ends included";
    let Some(value) = table.get(field) else {
        let message = format!("segment '{key}': `bucket.{field}` is missing");
        file.findings.add_help(E006, table.span.clone(), message, HELP);
        return None;
    };
    if !value.get_ref().is_integer() {
        file.wrong_type(table, field, value, "an integer");
        return None;
    }
    let number = integer(value.get_ref()).and_then(|n| u16::try_from(n).ok()).filter(|n| *n < Bucket::COUNT);
    if number.is_none() {
        let message =
            format!("segment '{key}': `bucket.{field}` is {} out of range", a_type(value.get_ref()));
        file.findings.add_help(E006, value.span(), message, HELP);
    }
    number.map(|n| (n, value.span()))
}
