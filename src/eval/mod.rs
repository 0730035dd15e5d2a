//! Evaluation: context, predicates, buckets, resolution, explanation. Pure.
//!
//! [`Program::compile`] turns a checked [`Manifest`](crate::manifest::Manifest) into flat arrays;
//! [`Program::evaluate`] walks them. Nothing here knows a trait, does I/O or reads a clock.

mod bucket;
mod compile;
mod context;
mod explain;
mod fixtures;
mod index;
#[cfg(feature = "async-tokio")]
mod keyed;
mod nearest;
mod pages;
mod predicate;
mod program;
mod resolve;
mod result;
mod semver;
pub(crate) mod space;

pub use self::{
    bucket::bucket,
    context::{AttrValue, EvalContext, EvalContextBuilder},
    explain::{Block, RuleState, RuleTrace, Step, StepResult, Trace},
    fixtures::{Coverage, Fixture, FixtureOptions, Fixtures, Unreached},
    nearest::{AttributeChange, Change, RuleReason, RuleStatus, WhyNot},
    program::Program,
    resolve::Evaluation,
    result::{EvalError, EvalOptions, EvalResult, RuleMatched, VariantKey},
    semver::Semver,
    space::{Limits, Outcome, Path, Paths, Reason, Share, paths},
};
pub(crate) use self::{
    compile::Edits,
    program::{CompiledFlag, EnvId},
    resolve::{Attributes, Failure, Hit},
};
#[cfg(feature = "async-tokio")]
pub(crate) use self::{keyed::PlanId, program::Key};
