//! Which built-in transport, in the words of the flag client's public contract.

use crate::config::process_environment;

/// Chooses the transport of a client's requests.
///
/// Highest first: what the code says; `LEVERFRAME_TRANSPORT__USE` where it names one of these; `EXD_HTTP_BACKEND`,
/// which is `curl`, `in-process`, `inprocess` or `reqwest`, anything else falling through; and
/// [`Default`], which is [`InProcess`](Self::InProcess) where the cargo feature `http-in-process` is on and
/// [`Curl`](Self::Curl) where it is not.
///
/// # Examples
/// ```
/// use leverframe::HttpBackend;
/// let explicit: Option<HttpBackend> = Some(HttpBackend::Curl);
/// let chosen = explicit.unwrap_or_else(HttpBackend::from_env_or_default);
/// assert_eq!(chosen.name(), "curl_cli");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpBackend {
    /// The `curl` program, with what `~/.curlrc` says.
    Curl,
    /// In this process, over reqwest and rustls.
    InProcess,
    /// libcurl, compiled in. Cargo feature `transport-curl`.
    Libcurl,
}

impl HttpBackend {
    /// Returns what the process's environment says, and the compiled default where it says nothing.
    #[must_use]
    pub fn from_env_or_default() -> Self {
        Self::from_variables(&process_environment())
    }

    /// Returns the name under which the transport is registered, as `transport.use` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl_cli",
            Self::InProcess => "reqwest",
            Self::Libcurl => "curl",
        }
    }

    /// Reads a value of `EXD_HTTP_BACKEND`; `None` for what falls through.
    pub(crate) fn of_contract(value: &str) -> Option<Self> {
        match value {
            "curl" => Some(Self::Curl),
            "in-process" | "inprocess" | "reqwest" => Some(Self::InProcess),
            _ => None,
        }
    }

    /// Decides from variables alone.
    fn from_variables(variables: &[(String, String)]) -> Self {
        let value = |key: &str| variables.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let ours = || {
            let name = value("LEVERFRAME_TRANSPORT__USE")?;
            [Self::Curl, Self::InProcess, Self::Libcurl].into_iter().find(|backend| backend.name() == name)
        };
        let contract = || Self::of_contract(value("EXD_HTTP_BACKEND")?);
        ours().or_else(contract).unwrap_or_default()
    }
}

impl Default for HttpBackend {
    /// Returns the compiled default; the environment is not asked.
    fn default() -> Self {
        if cfg!(feature = "http-in-process") { Self::InProcess } else { Self::Curl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> HttpBackend {
        let variables: Vec<_> =
            variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        HttpBackend::from_variables(&variables)
    }

    #[test]
    fn the_contract_variable_takes_its_words_and_nothing_else() {
        assert_eq!(chosen(&[("EXD_HTTP_BACKEND", "curl")]), HttpBackend::Curl);
        for word in ["in-process", "inprocess", "reqwest"] {
            assert_eq!(chosen(&[("EXD_HTTP_BACKEND", word)]), HttpBackend::InProcess);
        }
        for word in ["", "CURL", "wget", "curl_cli", "libcurl", " curl"] {
            assert_eq!(chosen(&[("EXD_HTTP_BACKEND", word)]), HttpBackend::default(), "{word}");
        }
    }

    #[test]
    fn our_own_variable_wins_by_the_registered_name() {
        let both = |name| chosen(&[("EXD_HTTP_BACKEND", "reqwest"), ("LEVERFRAME_TRANSPORT__USE", name)]);

        assert_eq!(both("curl"), HttpBackend::Libcurl);
        assert_eq!(both("curl_cli"), HttpBackend::Curl);
        assert_eq!(
            chosen(&[("EXD_HTTP_BACKEND", "curl"), ("LEVERFRAME_TRANSPORT__USE", "reqwest")]),
            HttpBackend::InProcess
        );
        // A transport of somebody else's is not one of these.
        assert_eq!(both("example"), HttpBackend::InProcess);
    }

    #[test]
    fn without_a_word_the_compiled_default_is_taken() {
        let compiled = if cfg!(feature = "http-in-process") { "reqwest" } else { "curl_cli" };

        assert_eq!(chosen(&[]).name(), compiled);
    }
}
