//! What a flag does in an environment, as the model says it: the rules that can run and the default.

use crate::{
    error::{Error, ErrorKind, Result},
    manifest::{
        Manifest,
        model::{Flag, Rule},
        names,
    },
};

/// The name under which manifests keep what holds for every environment without a block of its own.
pub(crate) const CATCH_ALL: &str = "_";

/// The four steps of resolution, decided as far as the declared shape decides them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'m> {
    pub(crate) flag: &'m Flag,
    /// The rules in force: the environment's own or the catch-all's.
    pub(crate) rules: &'m [Rule],
    /// The block that declares the rules: the environment's name or `_`.
    pub(crate) block: &'m str,
    /// The key of the variant that is left when no rule matches.
    pub(crate) default: &'m str,
    /// Whether the rules wait for callers that opt in.
    pub(crate) gated: bool,
}

impl<'m> Plan<'m> {
    /// Finds the plan of `flag` in `environment`; `_` is the plan of any environment without a block.
    ///
    /// # Errors
    /// `NotFound` for an unknown flag, and for an environment in which nothing evaluates.
    pub(crate) fn of(manifest: &'m Manifest, flag: &str, environment: &str) -> Result<Self> {
        let Some(found) = manifest.flags.get(flag) else {
            return Err(Error::new(ErrorKind::NotFound, "find flag")
                .with("flag", flag)
                .with("namespace", &manifest.slug));
        };
        if !is_known(manifest, environment) {
            let e = Error::new(ErrorKind::NotFound, "find environment").with("environment", environment);
            return Err(match &manifest.environments {
                Some(roster) => {
                    let names: Vec<&str> = roster.iter().map(|e| e.name.as_str()).collect();
                    e.with("declared", names.join(", "))
                }
                None => e.hint("environment names match `[a-z][a-z0-9_-]*`"),
            });
        }
        Ok(Self::of_flag(found, environment))
    }

    /// Finds the plan of a flag in an environment that is known to be one.
    pub(crate) fn of_flag(flag: &'m Flag, environment: &str) -> Self {
        let inherited = Self {
            flag,
            rules: flag.catch_all.rules.as_deref().unwrap_or_default(),
            block: CATCH_ALL,
            default: flag.catch_all.variant.as_deref().unwrap_or_default(),
            gated: false,
        };
        let Some((name, block)) = flag.environments.iter().find(|(name, _)| name == environment) else {
            return inherited;
        };
        let default = block.variant.as_deref();
        match (&block.rules, default) {
            (Some(rules), _) => Self {
                flag,
                rules,
                block: name,
                default: default.unwrap_or(inherited.default),
                gated: block.testing,
            },
            // A block with only a variant is a kill switch: the catch-all's rules are not looked at.
            (None, Some(default)) => Self { flag, rules: &[], block: name, default, gated: false },
            (None, None) => inherited,
        }
    }
}

/// Returns whether flags evaluate in `environment`; `_` stands for any without a block.
pub(crate) fn is_known(manifest: &Manifest, environment: &str) -> bool {
    environment == CATCH_ALL
        || match &manifest.environments {
            Some(roster) => roster.iter().any(|e| e.name == environment),
            None => names::is_environment(environment),
        }
}
