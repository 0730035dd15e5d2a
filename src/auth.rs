//! Who a source says it is.

use std::fmt;

/// Credentials for a source that a URI names.
///
/// `https` and `http` honour both kinds; `ftps` honours [`Basic`](Self::Basic); `git+https` honours both. `file` and
/// `git+ssh`, `git+file` ignore them: files have none, and ssh brings its own keys. `Debug` prints no secret.
///
/// # Examples
/// ```
/// use leverframe::UriAuth;
/// let auth = UriAuth::Basic { user: "reader".into(), pass: "s3cret".into() };
/// assert!(!format!("{auth:?}").contains("s3cret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UriAuth {
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// HTTP Basic, or the log-in of a file server.
    Basic {
        /// The user.
        user: String,
        /// The password.
        pass: String,
    },
}

impl fmt::Debug for UriAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => f.write_str("Bearer(***)"),
            Self::Basic { .. } => f.write_str("Basic(***)"),
        }
    }
}
