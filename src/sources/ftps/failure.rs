//! What a failed step means.
//!
//! A server's own words enter no error: nothing keeps it from repeating what it was sent. The code of its reply
//! does.

use std::io;

use rustls::CertificateError;
use suppaftp::{FtpError, types::Response};

use super::{place::Place, tls::Failure};
use crate::{Error, ErrorKind, Retry};

/// A step of a load, as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Greet,
    Secure,
    LogIn,
    Prepare,
    Ask,
    Open,
    Read,
    Finish,
}

impl Step {
    const fn operation(self) -> &'static str {
        match self {
            Self::Connect => "connect to the file server",
            Self::Greet => "read the file server's greeting",
            Self::Secure => "begin TLS with the file server",
            Self::LogIn => "log in to the file server",
            Self::Prepare => "set the transfer type",
            Self::Ask => "ask for the file's time and size",
            Self::Open => "begin the transfer of the file",
            Self::Read => "read the file",
            Self::Finish => "finish the transfer of the file",
        }
    }

    pub(super) fn error(self, kind: ErrorKind, place: &Place) -> Error {
        Error::new(kind, self.operation()).with("uri", &place.locator)
    }

    /// The step did not end in time.
    pub(super) fn timeout(self, place: &Place) -> Error {
        let error = self.error(ErrorKind::Timeout, place).retry(Retry::Now);
        match self {
            Self::Greet => error.hint(
                "if the server speaks TLS from the first byte, set `source.ftps.mode = \"implicit\"`; \
                 else is `source.ftps.connect_timeout_ms` long enough?",
            ),
            Self::Connect | Self::Secure | Self::LogIn => {
                error.hint("is the server up, and `source.ftps.connect_timeout_ms` long enough?")
            }
            _ => error.hint("is the server overloaded, or `source.ftps.timeout_ms` too short?"),
        }
    }

    /// The step failed.
    pub(super) fn failed(self, error: FtpError, tls: &Failure, place: &Place) -> Error {
        match error {
            FtpError::UnexpectedResponse(response) => self.refused(&response, place),
            FtpError::ConnectionError(error) => self.broken(error, place),
            FtpError::SecureError(text) => {
                self.insecure(tls.take().unwrap_or_else(|| io::Error::other(text)), place)
            }
            FtpError::BadResponse => self
                .error(ErrorKind::Invalid, place)
                .with("reason", "the answer is not one of FTP")
                .hint("is this the port of an FTP server?"),
            FtpError::InvalidAddress(error) => self.error(ErrorKind::Invalid, place).source(error),
            FtpError::DataConnectionAlreadyOpen => self
                .error(ErrorKind::Unavailable, place)
                .with("reason", "a transfer is still open")
                .retry(Retry::Now),
        }
    }

    /// The connection broke.
    pub(super) fn broken(self, error: io::Error, place: &Place) -> Error {
        let broken = match error.kind() {
            io::ErrorKind::TimedOut => self.error(ErrorKind::Timeout, place).retry(Retry::Now),
            io::ErrorKind::InvalidData
                if error.get_ref().is_some_and(|e| e.is::<suppaftp::ReplyTooLarge>()) =>
            {
                self.error(ErrorKind::LimitExceeded, place)
            }
            _ => self.error(ErrorKind::Unavailable, place).retry(Retry::Now),
        };
        broken.source(error)
    }

    /// TLS was refused, by either side.
    fn insecure(self, error: io::Error, place: &Place) -> Error {
        let failed = self.error(ErrorKind::Unavailable, place);
        let failed = match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => failed.hint(certificate_hint(reason)),
            Some(rustls::Error::InvalidMessage(_)) => {
                failed.hint("the server does not speak TLS here; set `source.ftps.mode = \"explicit\"`?")
            }
            Some(_) => failed.hint("the server must speak TLS 1.2 or 1.3"),
            None => failed.retry(Retry::Now),
        };
        failed.source(error)
    }

    /// The server said no.
    fn refused(self, response: &Response, place: &Place) -> Error {
        let code = code(response);
        let (kind, retry, hint) = match (self, code) {
            (Self::LogIn, 430 | 500..) => (
                ErrorKind::Unauthenticated,
                Retry::Never,
                "check the user and the password of the URI or of `uri_auth`",
            ),
            (_, ..500) => (
                ErrorKind::Unavailable,
                Retry::Now,
                "the server cannot serve now; it may have too many connections",
            ),
            (Self::Secure, _) => (
                ErrorKind::Unsupported,
                Retry::Never,
                "the server offers no TLS here, and plain FTP is not spoken: it would show password and content",
            ),
            (Self::Open | Self::Finish, 522 | 534) => (
                ErrorKind::Unavailable,
                Retry::Never,
                "the server refuses this kind of protected data connection",
            ),
            (Self::Open | Self::Finish, 550 | 553) => {
                (ErrorKind::NotFound, Retry::Never, "check the path, and that this user may read it")
            }
            (_, 530 | 532) => (ErrorKind::PermissionDenied, Retry::Never, "check what this user may do"),
            _ => (
                ErrorKind::Unavailable,
                Retry::Never,
                "the server refuses a command that every FTP server knows",
            ),
        };
        self.error(kind, place).with("reply", code).retry(retry).hint(hint)
    }
}

/// The code of a reply; the library knows no name for some, such as 522.
pub(super) fn code(response: &Response) -> u32 {
    let digits = response.body.get(..3).and_then(|d| std::str::from_utf8(d).ok());
    digits.and_then(|d| d.parse().ok()).unwrap_or_else(|| response.status.code())
}

fn certificate_hint(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is out of date: have it renewed, and check this machine's time of day"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "name the server in the URI as its certificate does; `source.ftps.ca_file` cannot help"
        }
        _ => "to trust the server's authority, set `source.ftps.ca_file` to a PEM file with its certificate",
    }
}
