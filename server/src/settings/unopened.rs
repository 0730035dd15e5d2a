//! Why a secret is not opened, and what whoever asks for it is told.

use http::StatusCode;
use leverframe::{Error, ErrorKind};

use super::parts::Source;
use crate::problem::Problem;

/// Why a secret is not opened. Only what needs it fails: everything else of its service goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unopened {
    /// It is not what its service's key has sealed.
    Damaged,
    /// Its service's key is not what any master key has sealed.
    DamagedKey,
    /// The server has no master key.
    NoMasterKey,
    /// Its service's key was sealed by a master key that the server does not have.
    OtherMasterKey,
}

impl Unopened {
    /// Says what it means that a data key does not open.
    pub(super) fn of_data_key(error: &Error) -> Self {
        if error.kind() == ErrorKind::Config { Self::OtherMasterKey } else { Self::DamagedKey }
    }

    /// Says it to whoever may have the secret.
    pub(super) fn problem(self, key: &str, source: Source) -> Problem {
        let of = match source {
            Source::Service => "",
            Source::Umbrella => " of the umbrella service",
        };
        let damaged = |why: &str| {
            let message = format!("secret `{key}`{of} cannot be opened{why}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "secret_damaged", message).with("key", key)
        };
        match self {
            Self::NoMasterKey => without_keys(),
            Self::OtherMasterKey => other_keys(),
            Self::Damaged => {
                damaged(": it was changed, or sealed by another key; write the secret again, or delete it")
            }
            Self::DamagedKey => damaged(
                ", nor any other beside it: the key that they are sealed with was changed; restore a backup of the \
                 database",
            ),
        }
    }
}

/// Without any master key.
pub(super) fn without_keys() -> Problem {
    no_master_key(
        "the server has no master key, without which it neither writes nor reads secrets, nor gives out sessions",
    )
}

/// With other master keys than whoever sealed the service's secrets.
pub(super) fn other_keys() -> Problem {
    no_master_key(
        "the server does not have the master key that the service's secrets are sealed under: start it with that one, or \
         add it to the key's file on a line of its own",
    )
}

fn no_master_key(message: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_master_key", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_with_its_next_step_and_what_is_damaged_with_its_key() {
        let told = |why: Unopened, source| {
            let problem = why.problem("DB", source);
            (problem.status().as_u16(), problem.code(), problem.message().to_owned())
        };

        for (why, status, code, said) in [
            (Unopened::Damaged, 500, "secret_damaged", "write the secret again"),
            (Unopened::DamagedKey, 500, "secret_damaged", "restore a backup"),
            (Unopened::NoMasterKey, 503, "no_master_key", "no master key"),
            (Unopened::OtherMasterKey, 503, "no_master_key", "start it with that one"),
        ] {
            let (of, called, message) = told(why, Source::Service);
            assert_eq!((of, called), (status, code));
            assert!(message.contains(said), "{message}");
            assert_eq!(message.contains("`DB`"), status == 500, "{message}");
        }
        assert!(told(Unopened::Damaged, Source::Umbrella).2.contains("`DB` of the umbrella service"));
    }
}
