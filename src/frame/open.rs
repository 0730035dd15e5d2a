//! Opens one namespace as its table says.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    Error, ErrorKind, Result, UriAuth,
    backends::cache_memory,
    config::FlagsSettings,
    encoding::hex,
    error::chain,
    flags::{
        LoadError, LoadOptions, Namespace, RefreshHandle,
        remote::{Streamed, filter_of, load_polled, open_streams},
    },
    live::{Keep, Schedule, StalePolicy},
    manifest::lint::did_you_mean,
    sources::server::{self, ServerConfig, ServerPlace},
    traits::CacheStore,
    wiring::Wiring,
};

/// A namespace with what keeps it current.
pub(super) struct Entry {
    pub(super) namespace: Namespace,
    pub(super) environment: String,
    pub(super) dry_run: bool,
    #[cfg(feature = "async-tokio")]
    pub(super) client: crate::flags::ExdClient,
    /// Taken by whoever stops it.
    refresh: Mutex<Option<RefreshHandle>>,
}

impl Entry {
    pub(super) fn open(wiring: &Wiring, cache: &Arc<dyn CacheStore>, name: &str) -> Result<Self> {
        let table =
            Table { key: format!("flags.{name}"), settings: wiring.config.read(&format!("flags.{name}"))? };
        let settings = &table.settings;
        let is_server = settings.source == server::NAME || settings.uri.starts_with("exd-server");
        if settings.uri.is_empty() && !is_server {
            return Err(table
                .missing("uri")
                .hint("set it to where the namespace is, such as `file:///etc/app/flags`"));
        }
        if settings.environment.is_empty() {
            return Err(table
                .missing("environment")
                .hint("set it to the environment that this process runs in"));
        }
        let interval =
            if settings.event_stream { settings.safety_net_interval_ms } else { settings.poll_interval_ms };
        let namespace = if is_server {
            table.load_from_server(wiring, cache, name)?
        } else {
            if settings.event_stream {
                return Err(table
                    .wrong("event_stream", "only a server has an event stream")
                    .hint("set `source = \"server\"`, or a URI of `exd-server://`"));
            }
            let options = table.options(cache, &settings.uri)?.with_clock(Arc::clone(&wiring.clock));
            let source = wiring.source(&settings.source, &settings.uri, table.auth())?;
            let options = options.keeping_archive_of(&*source, &settings.uri);
            Namespace::from_source(source, &options).map_err(|e| table.refused(&e))?
        };
        // A fleet with one configuration must not ask in step.
        let refresh = namespace.start_refresh(Schedule::every(Duration::from_millis(interval)).jittered());
        Ok(Self {
            #[cfg(feature = "async-tokio")]
            client: crate::flags::ExdClient::over(&namespace, &settings.environment, settings.dry_run),
            namespace,
            environment: settings.environment.clone(),
            dry_run: settings.dry_run,
            refresh: Mutex::new(Some(refresh)),
        })
    }

    /// Ends the background refresh and waits for it.
    pub(super) fn stop(&self) -> thread::Result<()> {
        let refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner).take();
        refresh.map_or(Ok(()), RefreshHandle::stop)
    }
}

struct Table {
    key: String,
    settings: FlagsSettings,
}

impl Table {
    fn auth(&self) -> Option<UriAuth> {
        let settings = &self.settings;
        match (settings.bearer_token.expose(), settings.user.as_str()) {
            ("", "") => None,
            ("", user) => {
                Some(UriAuth::Basic { user: user.to_owned(), pass: settings.password.expose().to_owned() })
            }
            (token, _) => Some(UriAuth::Bearer(token.to_owned())),
        }
    }

    /// Loads a namespace of a server, polled or told of.
    fn load_from_server(
        &self,
        wiring: &Wiring,
        cache: &Arc<dyn CacheStore>,
        name: &str,
    ) -> Result<Namespace> {
        let settings = &self.settings;
        let place = self.server_place(&wiring.config.read("source.server")?, name)?;
        let options = self.options(cache, &place.to_string())?.with_clock(Arc::clone(&wiring.clock));
        let auth = self.auth();
        let loaded = if settings.event_stream {
            let member = Streamed {
                place,
                environment: settings.environment.clone(),
                filter: filter_of(settings.event_stream_flags.iter().map(String::as_str)),
                working_tree: Some(&settings.working_tree).filter(|p| !p.as_os_str().is_empty()).cloned(),
            };
            open_streams(wiring, auth.as_ref(), &options, vec![member]).and_then(|opened| {
                let opened = opened.into_iter().next();
                opened.ok_or_else(|| LoadError::Builder("nothing was opened".to_owned()))?.load(&options)
            })
        } else {
            load_polled(wiring, place, auth.as_ref(), &options)
        };
        loaded.map_err(|e| self.refused(&e))
    }

    fn server_place(&self, server: &ServerConfig, name: &str) -> Result<ServerPlace> {
        let settings = &self.settings;
        let or = |own: &str, other: &str| if own.is_empty() { other.to_owned() } else { own.to_owned() };
        if settings.uri.starts_with("exd-server") {
            return ServerPlace::of_uri(&settings.uri);
        }
        let url = or(&settings.uri, &server.url);
        if url.is_empty() {
            return Err(self.missing("uri").hint(
                "set it to the server's base URL, or `source.server.url` for all namespaces, or EXD_SERVER_URL",
            ));
        }
        let place = ServerPlace::new(&url, &or(&settings.namespace, name))?;
        match or(&settings.tenant, &server.tenant).as_str() {
            "" => Ok(place),
            tenant => place.with_tenant(tenant),
        }
    }

    fn options(&self, cache: &Arc<dyn CacheStore>, uri: &str) -> Result<LoadOptions> {
        let settings = &self.settings;
        let mut options = LoadOptions::new()
            .with_stale_policy(self.policy()?, Duration::from_millis(settings.max_stale_age_ms));
        if !settings.cache_path.as_os_str().is_empty() {
            options = options.with_cache_path(&settings.cache_path);
        } else if settings.generations > 0 && cache.name() != cache_memory::NAME {
            // Another place under the same name is another succession.
            let place = &hex(&Sha256::digest(without_user_info(uri)))[..12];
            let keep = Keep::in_store(Arc::clone(cache), &format!("{}.{place}", self.key))?;
            options =
                options.with_keep(keep.generations(settings.generations.try_into().unwrap_or(usize::MAX)));
        }
        if !settings.baseline.as_os_str().is_empty() {
            options = options.with_baseline(self.read_baseline(&settings.baseline)?);
        }
        self.trusting(options)
    }

    fn policy(&self) -> Result<StalePolicy> {
        match self.settings.stale.as_str() {
            "serve" => Ok(StalePolicy::Serve),
            "warn" => Ok(StalePolicy::Warn),
            "fail" => Ok(StalePolicy::Fail),
            other => {
                let hint = did_you_mean(other, ["serve", "warn", "fail"]);
                Err(self
                    .wrong("stale", "it must be `serve`, `warn` or `fail`")
                    .hint(hint.unwrap_or_else(|| "write one of the three".to_owned())))
            }
        }
    }

    fn read_baseline(&self, path: &Path) -> Result<Vec<u8>> {
        fs::read(path).map_err(|error| {
            Error::from_io("read the baseline", error)
                .with("key", format!("{}.baseline", self.key))
                .with("path", path.display())
                .hint("make it with `leverframe manifest pack`")
        })
    }

    #[cfg(feature = "signed")]
    fn trusting(&self, options: LoadOptions) -> Result<LoadOptions> {
        use crate::manifest::signature::{PublicKey, Trust};
        let settings = &self.settings;
        if settings.trusted_keys.is_empty() {
            return Ok(options);
        }
        let keys = settings.trusted_keys.iter().map(|text| text.parse::<PublicKey>());
        let keys = keys.collect::<Result<Vec<_>>>().map_err(|error| self.in_key("trusted_keys", error))?;
        let threshold = usize::try_from(settings.threshold).unwrap_or(usize::MAX);
        let trust = Trust::new(keys, threshold).map_err(|error| self.in_key("threshold", error))?;
        Ok(options.with_trust(trust))
    }

    #[cfg(not(feature = "signed"))]
    fn trusting(&self, options: LoadOptions) -> Result<LoadOptions> {
        if self.settings.trusted_keys.is_empty() {
            return Ok(options);
        }
        Err(self
            .wrong("trusted_keys", "this build cannot verify signatures")
            .hint("build with the cargo feature `signed`"))
    }

    fn missing(&self, field: &str) -> Error {
        self.wrong(field, "it is required")
    }

    fn wrong(&self, field: &str, reason: &str) -> Error {
        Error::new(ErrorKind::Config, "read the configuration")
            .with("key", format!("{}.{field}", self.key))
            .with("reason", reason)
    }

    #[cfg(feature = "signed")]
    fn in_key(&self, field: &str, error: Error) -> Error {
        let hint = error.hint_text().map(str::to_owned);
        let wrong = self.wrong(field, &error.to_string());
        match hint {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }

    fn refused(&self, error: &LoadError) -> Error {
        let hint = error.hint().map(str::to_owned);
        let failed = Error::new(error.kind(), "load a namespace of flags")
            .with("key", &self.key)
            .with("reason", chain(error));
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

/// Leaves the password out: names of files are no place for it, digested or not, and a new one is no other place.
fn without_user_info(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_no_other_place() {
        for (uri, place) in [
            ("https://u:p%40ss@h:8443/a@b?c#d", "https://h:8443/a@b?c#d"),
            ("git+ssh://git@h/flags.git#main:a", "git+ssh://h/flags.git#main:a"),
            ("https://h/a", "https://h/a"),
            ("file:///etc/app", "file:///etc/app"),
            ("no uri", "no uri"),
        ] {
            assert_eq!(without_user_info(uri), place);
        }
    }
}
