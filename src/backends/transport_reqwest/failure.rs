//! What the library's errors mean.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError};

use crate::{Error, ErrorKind, Retry};

/// Classifies an error that kept a response from coming.
pub(super) fn while_sending(error: reqwest::Error, uri: &str) -> Error {
    // The library's text would print the URL with its query.
    let error = error.without_url();
    let made = match find::<rustls::Error>(&error) {
        Some(tls) => of_tls(tls),
        None if error.is_timeout() => Error::new(ErrorKind::Timeout, "connect").retry(Retry::Now).hint(
            "is the host reachable from here? `transport.reqwest.connect_timeout_ms` sets how long is tried",
        ),
        None if error.is_builder() => Error::new(ErrorKind::Invalid, "build the request"),
        None if error.is_connect() => Error::new(ErrorKind::Unavailable, "connect")
            .retry(Retry::Now)
            .hint("check the host, the port, and `transport.reqwest.proxy`"),
        None => Error::new(ErrorKind::Unavailable, "send the request").retry(Retry::Now),
    };
    made.with("uri", uri).source(error)
}

/// Classifies an error that came after the headers.
pub(super) fn while_reading(error: reqwest::Error, uri: &str) -> Error {
    let error = error.without_url();
    let damaged = find::<io::Error>(&error).is_some_and(|e| e.kind() == io::ErrorKind::InvalidData);
    let made = if damaged {
        Error::new(ErrorKind::Corrupt, "decompress the body")
    } else {
        Error::new(ErrorKind::Unavailable, "read the body")
    };
    made.with("uri", uri).retry(Retry::Now).source(error)
}

/// Says what to do about a failed handshake. None of it heals by trying again.
fn of_tls(error: &rustls::Error) -> Error {
    let unavailable = |hint| Error::new(ErrorKind::Unavailable, "trust the peer").hint(hint);
    match error {
        rustls::Error::InvalidCertificate(reason) => unavailable(match reason {
            CertificateError::UnknownIssuer => {
                "set `transport.reqwest.ca_file` to the PEM file of the authority that signed the peer's certificate"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "the peer's certificate is out of date: have it renewed, and check this machine's time of day"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the peer's certificate is for another host: ask under a name that it bears"
            }
            _ => "the peer's certificate cannot be used; `transport.reqwest.ca_file` sets who is trusted besides the platform",
        }),
        rustls::Error::AlertReceived(
            AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate,
        ) => Error::new(ErrorKind::Unauthenticated, "pass as a known client").hint(
            "set `transport.reqwest.client_cert_file` and `client_key_file` to a certificate that the peer trusts",
        ),
        rustls::Error::InvalidMessage(_) => {
            Error::new(ErrorKind::Unavailable, "agree on TLS").hint("does the peer speak TLS on this port? or is it `http://`?")
        }
        _ => Error::new(ErrorKind::Unavailable, "agree on TLS")
            .hint("the peer and this transport have no TLS version or cipher in common, or the handshake was broken off"),
    }
}

/// Finds a cause of a type. I/O errors hide the error that they carry from `source`.
fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}
