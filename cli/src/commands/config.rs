//! `leverframe config explain|reference`

use leverframe::{
    config::{Config, process_environment, reference_markdown},
    registry::Registry,
};
use serde_json::{Value, json};

use crate::{
    args::{ConfigCommand, Format},
    failure::{Failure, exit},
    output::{BOLD, DIM, Envelope, Out, styled},
};

pub(super) fn run(command: &ConfigCommand, out: &mut Out) -> Result<u8, Failure> {
    let registry = Registry::discover()?;
    let (file, format) = match command {
        ConfigCommand::Reference => {
            out.text(reference_markdown(&registry))?;
            return Ok(exit::OK);
        }
        ConfigCommand::Explain { config, format } => (config, format.format),
    };
    let builder = Config::builder().environment(process_environment());
    let config = file.iter().fold(builder, |builder, path| builder.file(path)).build()?;
    config.check(&registry)?;
    let rows = config.explain();
    match format {
        Format::Human => {
            let width = rows.iter().map(|r| r.key.len()).max().unwrap_or(0);
            out.line(styled(BOLD, format!("{:<width$}  {:<11}  value", "key", "layer")))?;
            for row in &rows {
                let origin = row.origin.as_ref().map(|o| styled(DIM, format!("  ({o})"))).unwrap_or_default();
                out.line(format!("{:<width$}  {:<11}  {}{origin}", row.key, row.layer.as_str(), row.value))?;
            }
        }
        Format::Json => {
            let list: Vec<Value> = rows
                .iter()
                .map(|r| json!({ "key": r.key, "value": r.value, "layer": r.layer.as_str(), "origin": r.origin }))
                .collect();
            let source = file.as_ref().map_or_else(|| "environment".to_owned(), |f| f.display().to_string());
            Envelope::new("config-explain", json!({ "config": file }), &source)
                .write(out, json!({ "settings": list }))?;
        }
    }
    Ok(exit::OK)
}
