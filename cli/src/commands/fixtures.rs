//! `leverframe fixtures`

use leverframe::eval::{FixtureOptions, Fixtures};
use serde_json::json;

use crate::{
    args::{FixtureFormat, FixturesArgs},
    failure::{Failure, exit},
    output::{Envelope, Out},
    place::Place,
};

pub(super) fn run(args: &FixturesArgs, out: &mut Out) -> Result<u8, Failure> {
    let checked = Place::checked(&args.manifest, out)?;
    let options = FixtureOptions::new()
        .with_coverage(args.coverage.into())
        .with_seed(&args.seed)
        .with_evaluation(leverframe::EvalOptions::new().with_include_testing(args.include_testing));
    let fixtures = Fixtures::of(&checked.manifest, &checked.program, &args.flag, &args.env, &options)?;
    match args.format {
        FixtureFormat::Human => out.text(fixtures.to_human())?,
        FixtureFormat::Rust => out.text(fixtures.to_rust(&args.manifest))?,
        FixtureFormat::Typescript => out.text(fixtures.to_typescript())?,
        FixtureFormat::Json => {
            let inputs = json!({
                "flag": args.flag,
                "environment": args.env,
                "manifest": args.manifest,
                "coverage": leverframe::eval::Coverage::from(args.coverage).to_string(),
                "seed": args.seed,
                "include_testing": args.include_testing,
            });
            let envelope =
                Envelope::new("fixtures", inputs, &args.manifest).engine("static+synth").version(1);
            envelope.write(out, fixtures.to_json())?;
        }
    }
    Ok(exit::OK)
}
