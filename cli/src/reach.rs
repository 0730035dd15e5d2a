//! Which server a command asks, and as whom.

use std::path::Path;

use leverframe::{
    Error, Secret, ServerApi,
    config::{Config, process_environment},
};

use crate::{args::ServerArgs, commands::secret_file, failure::Failure};

/// A server's address, and the token to show there.
pub(crate) struct Reach {
    pub(crate) url: String,
    pub(crate) token: Secret,
    config: Config,
}

impl Reach {
    /// Takes what is given as arguments, or else what the environment says.
    pub(crate) fn of(args: &ServerArgs) -> Result<Self, Failure> {
        Self::new(args.server.as_deref(), args.token.as_deref(), args.token_file.as_deref())
    }

    pub(crate) fn new(
        server: Option<&str>,
        token: Option<&str>,
        token_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let config = Config::builder().environment(process_environment()).build()?;
        let url = server.map(str::to_owned).map_or_else(|| of_server(&config, "url"), |url| Ok(Some(url)))?;
        let url = url.ok_or_else(|| {
            Failure::usage("no server is named")
                .with_hint("give its address with `--server`, or set LEVERFRAME_SERVER_URL")
        })?;
        let token = match (token, token_file) {
            (Some(token), _) => Secret::new(token),
            (None, Some(path)) => secret_file("read the token", path)?,
            (None, None) => of_server(&config, "api_token")?.map(Secret::new).ok_or_else(|| {
                Failure::usage("no token is given").with_hint(
                    "name a file that holds it with `--token-file`, or set LEVERFRAME_API_TOKEN; \
                     `leverframe admin token mint` makes one",
                )
            })?,
        };
        Ok(Self { url, token, config })
    }

    /// Returns the tenant that the environment names.
    pub(crate) fn tenant(&self) -> Result<Option<String>, Failure> {
        Ok(of_server(&self.config, "tenant")?)
    }

    /// Returns what to ask it through.
    pub(crate) fn api(&self, args: &ServerArgs) -> ServerApi {
        let api = ServerApi::new(&self.url, self.token.expose());
        args.http_backend.iter().fold(api, |api, backend| api.with_http_backend((*backend).into()))
    }
}

fn of_server(config: &Config, key: &str) -> Result<Option<String>, Error> {
    let value = config.value::<String>(&format!("source.server.{key}"))?;
    Ok(value.filter(|value| !value.is_empty()))
}
