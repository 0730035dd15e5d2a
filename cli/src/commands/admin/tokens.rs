//! `leverframe admin token …`, and handing out secrets.

use leverframe::rfc3339;
use leverframe_server::{
    admin::Issued,
    model::{PageRequest, TokenType},
    store::TokenQuery,
};
use serde_json::{Value, json};

use super::{Desk, all, lists};
use crate::{
    args::{AtArgs, Format, Kind, TokenCommand},
    duration::duration,
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled},
};

/// Where a command's store is.
pub(super) fn place(command: &TokenCommand) -> &AtArgs {
    match command {
        TokenCommand::Mint { at, .. } | TokenCommand::List { at, .. } | TokenCommand::Revoke { at, .. } => at,
    }
}

impl Desk {
    pub(super) async fn token(&self, command: &TokenCommand, out: &mut Out) -> Result<u8, Failure> {
        match command {
            TokenCommand::Mint { .. } => self.mint(command, out).await,
            TokenCommand::List { tenant, namespace, kind, live, .. } => {
                let mut query = TokenQuery::default();
                query.tenant.clone_from(tenant);
                query.namespace.clone_from(namespace);
                query.kind = kind.map(TokenType::from);
                query.live_at = live.then(|| self.clock.wall());
                let tokens = all(async |page: &PageRequest| self.admin.tokens(&query, page).await).await?;
                let inputs = json!({ "tenant": tenant, "namespace": namespace, "live": live,
                    "type": query.kind.map(TokenType::as_str) });
                let table = lists::tokens(&tokens, self.clock.wall());
                self.list("admin-token-list", inputs, "tokens", &table, out)?;
                Ok(exit::OK)
            }
            TokenCommand::Revoke { id, .. } => {
                let revoked = self.admin.revoke(id).await?;
                let text = if revoked { "revoked" } else { "it was revoked before:" };
                let text = format!("{text} {}", styled(BOLD, id));
                self.say(
                    "admin-token-revoke",
                    json!({ "id": id }),
                    json!({ "revoked": revoked }),
                    &text,
                    out,
                )?;
                Ok(exit::OK)
            }
        }
    }

    async fn mint(&self, command: &TokenCommand, out: &mut Out) -> Result<u8, Failure> {
        let TokenCommand::Mint { kind, bound_to, name, environment, allowed_origins, expires, .. } = command
        else {
            return Ok(exit::OK);
        };
        let mut token = self.admin.token((*kind).into());
        if let Some(bound_to) = bound_to {
            let (tenant, namespace) = match bound_to.split_once('/') {
                Some((tenant, namespace)) => (tenant, Some(namespace.to_owned())),
                None => (bound_to.as_str(), None),
            };
            (token.tenant, token.namespace) = (Some(tenant.to_owned()), namespace);
        }
        token.name.clone_from(name);
        token.environment.clone_from(environment);
        token.allowed_origins.clone_from(allowed_origins);
        if let Some(text) = expires {
            let pause = duration(text).ok_or_else(|| {
                Failure::usage(format!("`--expires {text}` is no duration"))
                    .with_hint("write it as 90d, 12h or 30m")
            })?;
            token.expires_at = self.clock.wall().checked_add(pause);
        }
        let inputs = json!({ "type": token.kind.as_str(), "bound_to": bound_to, "name": name,
            "environment": environment, "allowed_origins": allowed_origins, "expires": expires });
        let issued = self.admin.mint(token).await?;
        self.hand_out("admin-token-mint", inputs, &issued, out)
    }

    /// Prints a secret: the only time that it is seen. Alone on standard output, so that it can be sent to a file.
    pub(super) fn hand_out(
        &self,
        query: &'static str,
        inputs: Value,
        issued: &Issued,
        out: &mut Out,
    ) -> Result<u8, Failure> {
        let token = &issued.token;
        match self.format {
            Format::Human => {
                let bound_to = lists::bound_to(token);
                let until = token.expires_at.map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
                out.note(format!(
                    "{} ({}) for {bound_to}{until}; keep the secret, it is not shown again:",
                    styled(BOLD, &token.id),
                    token.kind.as_str()
                ));
                out.line(issued.secret.expose())?;
            }
            Format::Json => {
                let result = json!({ "token": lists::token(token), "secret": issued.secret.expose() });
                Envelope::new(query, inputs, &self.source).write(out, result)?;
            }
        }
        Ok(exit::OK)
    }
}

impl From<Kind> for TokenType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Read => Self::NamespaceRead,
            Kind::Write => Self::NamespaceWrite,
            Kind::Client => Self::NamespaceClient,
            Kind::TenantAdmin => Self::TenantAdmin,
            Kind::Superadmin => Self::Superadmin,
        }
    }
}
