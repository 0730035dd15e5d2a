//! `leverframe schema`

use leverframe::manifest::Schema;
use serde_json::json;

use crate::{
    args::{SchemaArgs, SchemaFormat},
    failure::{Failure, exit},
    output::{Envelope, Out},
    place::Place,
};

pub(super) fn run(args: &SchemaArgs, out: &mut Out) -> Result<u8, Failure> {
    let checked = Place::checked(&args.manifest, out)?;
    let schema = Schema::of(&checked.manifest, args.flag.as_deref(), args.env.as_deref())?;
    match args.format {
        SchemaFormat::Human => {
            out.text(schema.to_human(&checked.fingerprint.short(&checked.manifest.slug)))?
        }
        SchemaFormat::Jsonschema => out.line(format!("{:#}", schema.to_json_schema()))?,
        SchemaFormat::Rust => out.text(schema.to_rust())?,
        SchemaFormat::Typescript => out.text(schema.to_typescript())?,
        SchemaFormat::Json => {
            let inputs = json!({ "flag": args.flag, "environment": args.env, "manifest": args.manifest });
            Envelope::new("schema", inputs, &args.manifest).version(1).write(out, schema.to_json())?;
        }
    }
    Ok(exit::OK)
}
