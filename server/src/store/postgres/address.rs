//! Where the database is, and whom to believe there.

use std::{path::Path, sync::Arc, time::Duration};

use deadpool_postgres::tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};
use leverframe::{Error, ErrorKind, Result, Secret};
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longer than any URL that means something.
const LONGEST: usize = 4096;

/// Where a database is.
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) trust: Trust,
}

/// Whom to believe.
pub(super) enum Trust {
    /// Whoever answers, in clear.
    Plain(NoTls),
    /// Who has a certificate for the host's name, of an authority that is trusted.
    Verified(MakeRustlsConnect),
}

impl Address {
    /// Reads a URL. Nothing of it is in any error, since a password may be anywhere in what is malformed.
    pub(super) fn parse(url: &Secret) -> Result<Self> {
        let url = url.expose();
        if url.len() > LONGEST || !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(refused("it does not begin with `postgres://`, or is too long"));
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut authority, mut rest) = ("", "", Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => authority = value,
                _ => rest.push(pair),
            }
        }
        let mut config: Config = format!("{place}?{}", rest.join("&"))
            .parse()
            .map_err(|_| refused("it is malformed, or has a parameter that is not known"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("it names no host"));
        }
        let trust = match mode {
            "" | "disable" => {
                if !authority.is_empty() {
                    return Err(refused("`sslrootcert` says whom to trust, and `sslmode` not to ask"));
                }
                if mode.is_empty() && !config.get_hosts().iter().all(is_here) {
                    tracing::warn!(
                        "the connection to the database is not encrypted; `sslmode=verify-full` in its URL does that"
                    );
                }
                config.ssl_mode(SslMode::Disable);
                Trust::Plain(NoTls)
            }
            // The weaker names are common in URLs; a certificate that nobody checks protects from nobody.
            "require" | "verify-ca" | "verify-full" => {
                config.ssl_mode(SslMode::Require);
                Trust::Verified(verified(authority)?)
            }
            // Encrypted if the other side, or whoever is between, so pleases.
            "allow" | "prefer" => {
                return Err(refused("`sslmode` must be `disable`, `require`, `verify-ca` or `verify-full`"));
            }
            _ => return Err(refused("its `sslmode` is not known")),
        };
        if config.get_application_name().is_none() {
            config.application_name("leverframe");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        // A host that is gone without a word is noticed, by the connection that only listens as well.
        config.keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(2).tcp_user_timeout(Duration::from_secs(20));
        Ok(Self { config, trust })
    }
}

fn verified(authority: &str) -> Result<MakeRustlsConnect> {
    let extra = if authority.is_empty() { Vec::new() } else { authorities(authority)? };
    // Named, not taken from the process: another crate may have compiled in a second provider, and then there is no
    // default to take.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let failed =
        |error: rustls::Error| Error::new(ErrorKind::Config, "set up TLS to the database").source(error);
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(failed)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous() // The name of the builder's step; the verifier is the platform's, nothing is left out.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn authorities(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |reason: String| {
        Error::new(ErrorKind::Config, "load certificate authorities")
            .with("sslrootcert", path)
            .with("reason", reason)
            .hint("name a readable PEM file of certificates")
    };
    let decoded = leverframe::encoding::percent_decoded(path);
    let decoded = decoded.ok_or_else(|| unreadable("the path is not escaped as a URL's is".to_owned()))?;
    let found = CertificateDer::pem_file_iter(Path::new(&decoded))
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() { Err(unreadable("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// Whether what is sent to a host stays on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn refused(reason: &'static str) -> Error {
    Error::new(ErrorKind::Config, "read the database's URL")
        .with("reason", reason)
        .hint("it has the form `postgres://user:password@host:5432/database?sslmode=verify-full`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&Secret::new(url))
    }

    #[test]
    fn urls_without_tls_and_with_it_are_read() {
        let plain = parse("postgres://ann:pw@127.0.0.1:5433/flags").unwrap();
        assert!(matches!(plain.trust, Trust::Plain(_)));
        assert_eq!(plain.config.get_dbname(), Some("flags"));
        assert_eq!(plain.config.get_ssl_mode(), SslMode::Disable);

        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgresql://ann@db.example/flags?connect_timeout=3&sslmode={mode}");
            let verified = parse(&url).unwrap();
            assert!(matches!(verified.trust, Trust::Verified(_)));
            assert_eq!(verified.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(verified.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        }
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused_without_being_quoted() {
        for url in [
            "hunter2",
            "mysql://hunter2@h/d",
            "postgres:///hunter2",
            "postgres://ann:hunter2@h:port/d",
            "postgres://ann:hunter2@h/d?hunter2=1",
            "postgres://ann:hunter2@h/d?sslmode=prefer",
            "postgres://ann:hunter2@h/d?sslmode=hunter2",
            "postgres://ann:hunter2@h/d?sslrootcert=/ca.pem",
            "postgres://ann:hunter2@h/d?sslmode=require&sslrootcert=/does/not/exist",
            "postgres://ann:hunter2@h/d?sslmode=require&sslrootcert=%zz",
            "postgres://ann:hunter2@h/d?%zz=hunter2",
            &format!("postgres://ann:hunter2@h/{}", "d".repeat(LONGEST)),
        ] {
            let Err(error) = parse(url) else { panic!("{url}") };
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error:?} {}", error.chain()).contains("hunter2"), "{error:?}");
        }
    }
}
