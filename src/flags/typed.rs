//! One evaluation over one snapshot, shared by every entry point.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value as Json;

use super::product::FlagSnapshot;
use crate::{
    eval::{
        Attributes, CompiledFlag, EnvId, EvalContext, EvalOptions, EvalResult, Failure, Hit, RuleMatched,
        VariantKey,
    },
    live::Loaded,
    manifest::model::{FlagType, FlagValue},
};

mod sealed {
    #[expect(unnameable_types, reason = "sealed: only this crate implements it")]
    pub trait Sealed {}
}

/// A Rust type that a flag's value can be read as. Sealed: the format fixes the flag types.
///
/// # Examples
/// ```
/// fn type_of<T: leverframe::flags::FlagData>() -> &'static str {
///     T::FLAG_TYPE.as_str()
/// }
/// assert_eq!(type_of::<i64>(), "integer");
/// ```
pub trait FlagData: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The flag type that gives this Rust type.
    const FLAG_TYPE: FlagType;

    #[doc(hidden)]
    fn read(value: &FlagValue) -> Option<Self>;
}

macro_rules! flag_data {
    ($($rust:ty, $flag_type:ident, $value:ident, $read:expr;)+) => {
        $(
            impl sealed::Sealed for $rust {}

            impl FlagData for $rust {
                const FLAG_TYPE: FlagType = FlagType::$flag_type;

                #[inline]
                fn read(value: &FlagValue) -> Option<Self> {
                    let FlagValue::$value(v) = value else { return None };
                    Some($read(v))
                }
            }
        )+
    };
}

flag_data! {
    bool, Boolean, Bool, |v: &bool| *v;
    i64, Integer, Int, |v: &i64| *v;
    f64, Float, Float, |v: &f64| *v;
    String, String, String, |v: &Arc<str>| String::from(&**v);
    Arc<str>, String, String, Arc::clone;
    Json, Json, Json, |v: &Arc<Json>| Json::clone(v);
    Arc<Json>, Json, Json, Arc::clone;
}

/// Reads what a resolution gave as `T`.
#[inline]
pub(super) fn read<T: FlagData>(hit: Hit<'_>) -> Result<T, Failure<'_>> {
    let value = hit.value();
    T::read(value).ok_or_else(|| Failure::FlagType {
        requested: T::FLAG_TYPE,
        actual: value.flag_type(),
        variant: hit.variant_key(),
    })
}

/// Gives the structured result; a mismatch of attribute types is part of it, with the flag type's fallback.
#[inline]
pub(super) fn structured<C: Attributes>(
    loaded: &Loaded<FlagSnapshot>,
    flag: &CompiledFlag,
    environment: EnvId,
    context: &C,
    options: &EvalOptions,
) -> EvalResult {
    let program = &loaded.snapshot.program;
    let (value, variant_key, rule_matched) = match program.resolve(flag, environment, context, options) {
        Ok(hit) => (hit.value().clone(), hit.variant_key().clone(), hit.rule_matched()),
        Err(failure) => {
            let rule_matched = match failure {
                Failure::AttrType(mismatch) => program.mismatch(mismatch),
                _ => RuleMatched::SdkDefault,
            };
            (FlagValue::fallback(flag.flag_type()), VariantKey::default(), rule_matched)
        }
    };
    EvalResult { value, variant_key, rule_matched, flag_version: loaded.version }
}

/// Gives the structured result of every flag.
pub(super) fn structured_all(
    loaded: &Loaded<FlagSnapshot>,
    environment: EnvId,
    context: &EvalContext,
    options: &EvalOptions,
) -> HashMap<String, EvalResult> {
    let program = &loaded.snapshot.program;
    let attributes = program.look_up(context);
    let mut all = HashMap::with_capacity(program.len());
    for flag in program.in_order() {
        all.insert(flag.key().to_owned(), structured(loaded, flag, environment, &attributes, options));
    }
    all
}
