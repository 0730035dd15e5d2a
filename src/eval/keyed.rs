//! What clients and handles ask of a program on every call: look-ups by keys that were hashed before.

use super::{
    EvalOptions,
    program::{EnvId, FlagId, Key, Program},
    resolve::{Attributes, Failure, Hit},
};
use crate::manifest::archive::limits;

/// The place of a plan in a program of a manifest that has passed lint: that of its flag and that of its environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanId(pub(crate) u32);

/// How many bits of a [`PlanId`] name the environment; one place more than there may be is any other.
const ENVIRONMENT_BITS: u32 = 10;
const _: () = assert!(limits::ENVIRONMENTS < 1 << ENVIRONMENT_BITS);
const _: () = assert!(limits::FILES < 1 << (u32::BITS - ENVIRONMENT_BITS));

impl PlanId {
    pub(crate) fn of(flag: FlagId, environment: EnvId) -> Self {
        Self(flag.0 << ENVIRONMENT_BITS | environment.0)
    }

    #[inline]
    fn flag(self) -> FlagId {
        FlagId(self.0 >> ENVIRONMENT_BITS)
    }

    #[inline]
    fn environment(self) -> EnvId {
        EnvId(self.0 & ((1 << ENVIRONMENT_BITS) - 1))
    }
}

impl Key {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.hash == other.hash && *self.text == *other.text
    }
}

impl Program {
    /// [`Program::environment_named`] for a name that was hashed before.
    #[inline]
    pub(crate) fn environment(&self, name: &Key) -> Option<EnvId> {
        match self.environments.iter().position(|e| e.is(name)) {
            Some(at) => Some(EnvId(at as u32)),
            None => self.any_other(&name.text),
        }
    }

    #[inline]
    pub(crate) fn resolve_plan<C: Attributes>(
        &self,
        plan: PlanId,
        context: &C,
        options: &EvalOptions,
    ) -> Result<Hit<'_>, Failure<'_>> {
        self.resolve(self.flag_at(plan.flag()), plan.environment(), context, options)
    }
}

impl Failure<'_> {
    /// Returns the word that log lines carry; the same as [`EvalError::code`].
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::AttrType(_) => "attr_type_mismatch",
            Self::FlagType { .. } => "flag_type_mismatch",
            Self::UnknownEnvironment => "unknown_environment",
            Self::UnknownFlag => "unknown_flag",
        }
    }
}
