//! What a server is started with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use leverframe::{
    Error, ErrorKind, Result, Secret, backends::clock_system::SystemClock, config::ambient_environment,
    traits::Clock,
};

use super::TlsFiles;
use crate::{
    app::Limits,
    settings::{Federation, Keyring, SettingsStore, data_key, keyring},
    store::Store,
};

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
    /// A file with the master key, which seals the keys of secrets. Without it `master_key`, or else, with the embedded
    /// database, a key that the data directory keeps.
    pub master_key_file: Option<PathBuf>,
    /// The master key itself.
    pub master_key: Option<Secret>,
    /// A file that says whose tokens are taken for sessions of settings; without it, nobody's.
    pub issuers_file: Option<PathBuf>,
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
            master_key_file: None,
            master_key: None,
            issuers_file: None,
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
    /// `LEVERFRAME_SERVER_DATA`, `…_LISTEN`, `…_TLS_CERT`, `…_TLS_KEY`, `…_METRICS_TOKEN`, `…_ISSUERS_FILE`,
    /// `LEVERFRAME_DATABASE_URL`, `LEVERFRAME_MASTER_KEY_FILE` and `LEVERFRAME_MASTER_KEY` are ours.
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
        let [
            data,
            database,
            listen,
            cert,
            key,
            metrics,
            issuers,
            master_file,
            master,
            contract_data,
            contract_listen,
        ] = VARIABLES.map(find);
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
        let path = |path: &Secret| PathBuf::from(path.expose());
        self.issuers_file = issuers.map(path).or(self.issuers_file);
        self.master_key_file = master_file.map(path).or(self.master_key_file);
        self.master_key = master.cloned().or(self.master_key);
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

    /// Returns the master keys: of the file, or else the one that is given, or else, unless a database is shared, that of
    /// the data directory, which is made if there is none. `None` where secrets cannot be kept.
    ///
    /// # Errors
    /// As of [`Keyring::from_file`], [`Keyring::from_secret`] and [`Keyring::in_directory`].
    pub fn keyring(&self) -> Result<Option<Keyring>> {
        Ok(match (&self.master_key_file, &self.master_key) {
            (Some(file), _) => Some(Keyring::from_file(file)?),
            (None, Some(key)) => Some(Keyring::from_secret(key)?),
            // Servers that share a database share no directory; and a store of the caller's own needs none.
            (None, None) if self.database.is_some() || self.store.is_some() && !self.data.is_dir() => None,
            (None, None) => Some(Keyring::in_directory(&self.data)?),
        })
    }

    /// As [`keyring`](Self::keyring), but makes no master key for a store that has keys of services already, which another
    /// one has sealed.
    ///
    /// # Errors
    /// As of [`keyring`](Self::keyring); `Config` where a master key would be made, and is not; what the store fails with.
    pub async fn keyring_for(&self, store: &dyn SettingsStore) -> Result<Option<Keyring>> {
        let is_named = self.master_key_file.is_some() || self.master_key.is_some();
        if !is_named && self.database.is_none() && !self.data.join(keyring::FILE).exists() {
            data_key::require_none(store).await?;
        }
        self.keyring()
    }

    /// Returns whose tokens are believed.
    ///
    /// # Errors
    /// As of [`Federation::from_file`].
    pub(crate) fn federation(&self) -> Result<Option<Federation>> {
        let clock = || Arc::clone(&self.clock);
        self.issuers_file.as_ref().map(|file| Federation::from_file(file, clock())).transpose()
    }
}

const VARIABLES: [&str; 11] = [
    "LEVERFRAME_SERVER_DATA",
    "LEVERFRAME_DATABASE_URL",
    "LEVERFRAME_SERVER_LISTEN",
    "LEVERFRAME_SERVER_TLS_CERT",
    "LEVERFRAME_SERVER_TLS_KEY",
    "LEVERFRAME_SERVER_METRICS_TOKEN",
    "LEVERFRAME_SERVER_ISSUERS_FILE",
    "LEVERFRAME_MASTER_KEY_FILE",
    "LEVERFRAME_MASTER_KEY",
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
            ("LEVERFRAME_MASTER_KEY", "hunter2"),
        ]);

        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn the_master_key_is_of_the_file_or_of_the_variable_or_of_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let key = |byte: u8| leverframe::encoding::hex(&[byte; 32]);
        let file = dir.path().join("master.key");
        leverframe::durable::replace(&file, key(1).as_bytes()).unwrap();
        let (one, two) = (key(1), key(2));
        let id = |variables: &[(&str, &str)]| {
            let keyring = options(variables).unwrap().keyring().unwrap();
            keyring.map(|keyring| keyring.id())
        };
        let given = |key: &str| Keyring::from_secret(&Secret::new(key)).unwrap().id();
        let file = ("LEVERFRAME_MASTER_KEY_FILE", file.to_str().unwrap());
        let variable = ("LEVERFRAME_MASTER_KEY", &*two);
        let data = ("LEVERFRAME_SERVER_DATA", data);

        assert_eq!(id(&[file, variable, data]), Some(given(&one)));
        assert_eq!(id(&[variable, data]), Some(given(&two)));
        assert!(!dir.path().join("settings.key").exists());
        let made = id(&[data]);
        assert!(made.is_some() && made == id(&[data]) && dir.path().join("settings.key").exists());
        assert_eq!(id(&[data, ("LEVERFRAME_DATABASE_URL", "postgres://host/db")]), None);
        let error = options(&[("LEVERFRAME_MASTER_KEY", "hunter2")]).unwrap().keyring().unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn nobody_is_believed_without_a_file_that_says_so() {
        assert!(options(&[]).unwrap().federation().unwrap().is_none());
        let missing = options(&[("LEVERFRAME_SERVER_ISSUERS_FILE", "/nonexistent")]).unwrap();
        assert_eq!(missing.federation().unwrap_err().kind(), ErrorKind::NotFound);
    }
}
