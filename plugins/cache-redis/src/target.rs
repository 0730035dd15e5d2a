//! The server that a URL names, and who we are there.

use std::path::PathBuf;

use leverframe::{Error, ErrorKind, Result, Secret};
use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::{config::RedisConfig, tls::Trust};

/// A server and the credentials for it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: i64,
}

/// Where the server listens.
#[derive(Clone)]
pub(crate) enum Place {
    Tcp { host: String, port: u16, trust: Option<Trust> },
    Unix(PathBuf),
}

impl Target {
    /// Reads the URL. No part of it enters an error: any part may be a misplaced password.
    pub(crate) fn of(config: &RedisConfig) -> Result<Self> {
        let refuse = |reason: &'static str| {
            Error::new(ErrorKind::Config, "open the redis cache").with("reason", reason).hint(
                "set `cache.redis.url` to `redis://host:6379`, `rediss://user:password@host:6380/0` or `redis+unix:///path`",
            )
        };
        let text = config.url.expose();
        if text.is_empty() {
            return Err(refuse("there is no URL"));
        }
        let mut url = redis::parse_redis_url(text).ok_or_else(|| refuse("the URL cannot be read"))?;
        if url.fragment().is_some() {
            // The protocol's library takes `#insecure` for leave to trust anybody.
            return Err(refuse("the URL has a fragment"));
        }
        let secure = matches!(url.scheme(), "rediss" | "valkeys");
        let local = matches!(url.scheme(), "unix" | "redis+unix" | "valkey+unix");
        if !local && url.query().is_some() {
            return Err(refuse("the URL has a query"));
        }
        // The library refuses `rediss` without its own TLS, which would go by the process-wide provider.
        if secure && url.set_scheme("redis").is_err() {
            return Err(refuse("the URL cannot be read"));
        }
        let info = url.into_connection_info().map_err(|_| refuse("the URL cannot be used"))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp {
                host: host.clone(),
                port: *port,
                trust: if secure { Some(Trust::new(&config.ca_file)?) } else { None },
            },
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(refuse("the URL cannot be used")),
        };
        let login = info.redis_settings();
        Ok(Self {
            place,
            user: login.username().map(str::to_owned),
            password: login.password().map(Secret::new),
            database: login.db(),
        })
    }

    /// Returns the place as errors name it.
    pub(crate) fn address(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            Place::Unix(path) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target> {
        Target::of(&RedisConfig { url: Secret::new(url), ..RedisConfig::default() })
    }

    #[test]
    fn urls_name_server_user_and_database() {
        let target = target("redis://me:p%40ss@cache.example.com/3").unwrap();

        assert_eq!(target.address(), "cache.example.com:6379");
        assert_eq!(target.user.as_deref(), Some("me"));
        assert!(target.password.unwrap().same_as(&Secret::new("p@ss")));
        assert_eq!(target.database, 3);
    }

    #[test]
    fn a_socket_may_have_a_password_and_a_database() {
        let target = target("redis+unix:///run/redis.sock?db=2&pass=hunter2").unwrap();

        assert_eq!(target.address(), "/run/redis.sock");
        assert!(target.password.unwrap().same_as(&Secret::new("hunter2")));
        assert_eq!(target.database, 2);
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused_without_being_shown() {
        for bad in [
            "",
            "hunter2",
            "https://hunter2@host",
            "redis://me:hunter2@host/zero",
            "redis://me:hunter2@host?protocol=resp3",
            "rediss://me:hunter2@host#insecure",
            "redis://me:hunter2@0.0.0.0",
        ] {
            let error = target(bad).err().unwrap_or_else(|| panic!("`{bad}` was taken"));

            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(!format!("{error:?}{}", error.chain()).contains("hunter2"), "{bad}");
        }
    }
}
