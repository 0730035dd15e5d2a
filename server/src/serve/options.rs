//! What a server is started with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use leverframe::{
    Error, ErrorKind, Result, Secret, backends::clock_system::SystemClock, config::ambient_environment,
    traits::Clock,
};

use super::TlsFiles;
use crate::{app::Limits, store::Store};

/// What a server is started with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Folder of what survives a restart. Default: `leverframe-data` in the working directory.
    pub data: PathBuf,
    /// URL of a PostgreSQL database to be used instead of the embedded one.
    pub database: Option<Secret>,
    /// Where to listen, as `host:port`; port 0 takes any that is free. Default: `127.0.0.1:8080`.
    pub listen: String,
    /// Certificate and key; without them the server speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// What clients may ask for.
    pub limits: Limits,
    /// The token that `/metrics` asks for; without one it answers whoever connects from the same machine.
    pub metrics_token: Option<Secret>,
    /// As many connections as are open at once; further ones wait to be accepted. Default: 16,384.
    pub max_connections: usize,
    /// The time. Default: the system's.
    pub clock: Arc<dyn Clock>,
    /// A store that was opened already; `data` and `database` are not looked at then.
    pub store: Option<Arc<dyn Store>>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::from("leverframe-data"),
            database: None,
            listen: "127.0.0.1:8080".to_owned(),
            tls: None,
            limits: Limits::default(),
            metrics_token: None,
            max_connections: 16_384,
            clock: Arc::new(SystemClock::new()),
            store: None,
        }
    }
}

/// How long running requests are given when a server stops, unless somebody says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

impl ServeOptions {
    /// Returns the defaults, changed by what the process's environment says.
    ///
    /// `LEVERFRAME_SERVER_DATA`, `…_LISTEN`, `…_TLS_CERT`, `…_TLS_KEY`, `…_METRICS_TOKEN` and `LEVERFRAME_DATABASE_URL`
    /// are ours.
    /// `EXD_DB_PATH`, the path of a database file whose folder becomes `data`, and `EXD_LISTEN` are honoured below
    /// them.
    ///
    /// # Errors
    /// `Config` for a certificate without a key or a key without a certificate.
    pub fn from_environment() -> Result<Self> {
        Self::default().changed_by(ambient_environment(&VARIABLES))
    }

    fn changed_by(mut self, variables: Vec<(String, Secret)>) -> Result<Self> {
        let find = |name: &str| {
            let found = variables.iter().find(|(key, value)| key == name && !value.expose().is_empty());
            found.map(|(_, value)| value)
        };
        let [data, database, listen, cert, key, metrics, contract_data, contract_listen] =
            VARIABLES.map(find);
        if let Some(file) = contract_data {
            let folder = PathBuf::from(file.expose()).parent().map(PathBuf::from).unwrap_or_default();
            // A bare file name lies in the working directory.
            self.data = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        }
        if let Some(data) = data {
            self.data = PathBuf::from(data.expose());
        }
        if let Some(listen) = listen.or(contract_listen) {
            self.listen = listen.expose().to_owned();
        }
        self.database = database.cloned().or(self.database);
        self.metrics_token = metrics.cloned().or(self.metrics_token);
        self.tls = match (cert, key) {
            (None, None) => self.tls,
            (Some(chain), Some(key)) => Some(TlsFiles::new(chain.expose(), key.expose())),
            _ => {
                return Err(Error::new(ErrorKind::Config, "read the server's settings").hint(
                    "set both `LEVERFRAME_SERVER_TLS_CERT` and `LEVERFRAME_SERVER_TLS_KEY`, or neither",
                ));
            }
        };
        Ok(self)
    }
}

const VARIABLES: [&str; 8] = [
    "LEVERFRAME_SERVER_DATA",
    "LEVERFRAME_DATABASE_URL",
    "LEVERFRAME_SERVER_LISTEN",
    "LEVERFRAME_SERVER_TLS_CERT",
    "LEVERFRAME_SERVER_TLS_KEY",
    "LEVERFRAME_SERVER_METRICS_TOKEN",
    "EXD_DB_PATH",
    "EXD_LISTEN",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<ServeOptions> {
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value)));
        ServeOptions::default().changed_by(variables.collect())
    }

    #[test]
    fn our_variables_win_over_those_of_the_contract() {
        let theirs =
            options(&[("EXD_DB_PATH", "/var/exd/exd.sqlite"), ("EXD_LISTEN", "0.0.0.0:80")]).unwrap();
        assert_eq!((theirs.data, theirs.listen), (PathBuf::from("/var/exd"), "0.0.0.0:80".to_owned()));

        let ours = options(&[
            ("EXD_DB_PATH", "exd.sqlite"),
            ("EXD_LISTEN", "0.0.0.0:80"),
            ("LEVERFRAME_SERVER_DATA", "/srv"),
            ("LEVERFRAME_SERVER_LISTEN", "[::1]:81"),
        ]);
        let ours = ours.unwrap();
        assert_eq!((ours.data, ours.listen), (PathBuf::from("/srv"), "[::1]:81".to_owned()));
    }

    #[test]
    fn a_bare_file_name_lies_in_the_working_directory() {
        assert_eq!(options(&[("EXD_DB_PATH", "exd.sqlite")]).unwrap().data, PathBuf::from("."));
    }

    #[test]
    fn a_certificate_without_a_key_is_a_mistake() {
        let error = options(&[("LEVERFRAME_SERVER_TLS_CERT", "cert.pem")]).unwrap_err();

        assert!(error.hint_text().unwrap().contains("LEVERFRAME_SERVER_TLS_KEY"));
    }

    #[test]
    fn options_show_no_secret() {
        let options = options(&[
            ("LEVERFRAME_DATABASE_URL", "postgres://ann:hunter2@host/db"),
            ("LEVERFRAME_SERVER_METRICS_TOKEN", "hunter2"),
        ]);

        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
