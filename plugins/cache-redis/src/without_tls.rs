//! What stands for TLS where the feature `tls` is off: a refusal.

use std::{convert::Infallible, io, net::TcpStream, path::Path};

use leverframe::{Error, ErrorKind, Result};

use crate::stream::{Timed, Wire};

/// Whom connections trust; without TLS there is no such thing.
#[derive(Clone)]
pub(crate) struct Trust(Infallible);

impl Trust {
    pub(crate) fn new(_: &Path) -> Result<Self> {
        Err(Error::new(ErrorKind::Config, "open the redis cache")
            .with("reason", "`rediss://` needs TLS, which is compiled out")
            .hint("enable the feature `tls` of the crate `cache-redis`"))
    }

    pub(crate) fn secure(&self, _: &str, _: Timed<TcpStream>) -> io::Result<Box<dyn Wire>> {
        match self.0 {}
    }
}

pub(crate) fn is_distrust(_: &io::Error) -> bool {
    false
}
