//! What clients and handles ask of a program on every call: look-ups by keys that were hashed before.

use super::{
    program::{EnvId, Key, Program},
    resolve::Failure,
};

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
