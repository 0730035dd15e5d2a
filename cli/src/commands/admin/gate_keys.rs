//! `leverframe admin gate-key …`, on a store or through a server.

use leverframe::{ServerApi, live::block_on, rfc3339};
use leverframe_server::{
    admin::Admin,
    gate::{NewGateKey, model::GateKey},
    model::PageRequest,
};
use serde_json::{Value, json};

use super::{all, at_desk, lists::List};
use crate::{
    args::{Format, GateKeyCommand, KeyAtArgs},
    commands::gate::{failure, org},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled, words},
    reach::Reach,
};

pub(super) fn run(command: &GateKeyCommand, out: &mut Out) -> Result<u8, Failure> {
    let (GateKeyCommand::Create { at, .. }
    | GateKeyCommand::List { at, .. }
    | GateKeyCommand::Revoke { at, .. }) = command;
    let (source, done) = match &at.server {
        Some(_) => through_server(command, at)?,
        None => at_desk(&at.store, at.format.format, async |desk| {
            Ok((desk.source.clone(), on_store(command, &desk.admin).await?))
        })?,
    };
    tell(command, at.format.format, &source, done, out)
}

/// What a command has come to.
enum Done {
    Issued { key: Value, secret: String },
    Listed(Vec<Value>),
    Revoked { before: bool },
}

async fn on_store(command: &GateKeyCommand, admin: &Admin) -> Result<Done, Failure> {
    Ok(match command {
        GateKeyCommand::Create { org, site, name, .. } => {
            let mut new = NewGateKey::new(org);
            (new.site, new.name) = (site.clone(), name.clone());
            let issued = admin.issue_gate_key(&new).await?;
            Done::Issued { key: in_json(&issued.key), secret: issued.secret.expose().to_owned() }
        }
        GateKeyCommand::List { org, .. } => {
            let keys = all(async |page: &PageRequest| admin.gate_keys(org, page).await).await?;
            Done::Listed(keys.iter().map(in_json).collect())
        }
        GateKeyCommand::Revoke { org, publish_key, .. } => {
            Done::Revoked { before: !admin.revoke_gate_key(org, publish_key).await? }
        }
    })
}

/// A key as the API has it.
fn in_json(key: &GateKey) -> Value {
    json!({
        "org_id": key.org,
        "publish_key": key.publish_key,
        "site": key.site,
        "name": key.name,
        "created_at": rfc3339(key.created_at),
        "created_by": key.created_by,
        "revoked_at": key.revoked_at.map(rfc3339),
    })
}

fn through_server(command: &GateKeyCommand, at: &KeyAtArgs) -> Result<(String, Done), Failure> {
    let reach = Reach::new(at.server.as_deref(), at.token.as_deref(), at.token_file.as_deref())?;
    let api = ServerApi::new(&reach.url, reach.token.expose());
    let done = block_on(ask(command, &api))?;
    Ok((reach.url, done))
}

async fn ask(command: &GateKeyCommand, api: &ServerApi) -> Result<Done, Failure> {
    /// As many keys as are read: more than anybody has.
    const MOST: usize = 10_000;
    match command {
        GateKeyCommand::Create { org: name, site, name: called, .. } => {
            let path = format!("gate/{}/keys", org(name)?);
            let mut answer =
                api.post(&path, &json!({ "site": site, "name": called })).await.map_err(failure)?;
            let secret = answer["secret_key"].as_str().unwrap_or_default().to_owned();
            Ok(Done::Issued { key: answer["key"].take(), secret })
        }
        GateKeyCommand::List { org: name, .. } => {
            let path = format!("gate/{}/keys", org(name)?);
            let keys = api.list(&path, "keys", MOST).await.map_err(failure)?;
            Ok(Done::Listed(keys))
        }
        GateKeyCommand::Revoke { org: name, publish_key, .. } => {
            if !publish_key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
                return Err(Failure::usage(format!("`{}` is no publish key", publish_key.escape_debug()))
                    .with_hint("`leverframe admin gate-key list` shows them; they begin with `wpk_`"));
            }
            api.delete(&format!("gate/{}/keys/{publish_key}", org(name)?)).await.map_err(failure)?;
            // A server does not say whether somebody was faster.
            Ok(Done::Revoked { before: false })
        }
    }
}

fn tell(
    command: &GateKeyCommand,
    format: Format,
    source: &str,
    done: Done,
    out: &mut Out,
) -> Result<u8, Failure> {
    match (command, done) {
        (GateKeyCommand::Create { org, site, name, .. }, Done::Issued { key, secret }) => {
            let public = key["publish_key"].as_str().unwrap_or_default();
            if format == Format::Human {
                let of_site = site.as_ref().map(|site| format!(", site {site}")).unwrap_or_default();
                let named = styled(BOLD, public);
                out.note(format!("{named} for {org}{of_site}; keep the secret, it is not shown again:"));
                out.line(format!("GATE_PUBLISH_KEY={public}"))?;
                out.line(format!("GATE_SECRET_KEY={secret}"))?;
                return Ok(exit::OK);
            }
            let mut result = key;
            result["secret_key"] = json!(secret);
            let inputs = json!({ "org": org, "site": site, "name": name });
            Envelope::new("admin-gate-key-create", inputs, source).write(out, result)?;
        }
        (GateKeyCommand::List { org, .. }, Done::Listed(keys)) => match format {
            Format::Human => table(keys).write("gate keys", out)?,
            Format::Json => Envelope::new("admin-gate-key-list", json!({ "org": org }), source)
                .write(out, json!({ "keys": keys }))?,
        },
        (GateKeyCommand::Revoke { org, publish_key, .. }, Done::Revoked { before }) => match format {
            Format::Human => {
                let text = if before { "it was revoked before:" } else { "revoked" };
                out.line(format!("{text} {}", styled(BOLD, publish_key)))?;
            }
            Format::Json => {
                let inputs = json!({ "org": org, "publish_key": publish_key });
                Envelope::new("admin-gate-key-revoke", inputs, source)
                    .write(out, json!({ "revoked": !before }))?;
            }
        },
        _ => {}
    }
    Ok(exit::OK)
}

fn table(keys: Vec<Value>) -> List {
    let row = |key: &Value| {
        let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
        let state = if key["revoked_at"].is_null() { "live" } else { "revoked" };
        let site = key["site"].as_str().unwrap_or("any").to_owned();
        vec![text("publish_key"), site, text("name"), text("created_at"), state.to_owned()]
    };
    let columns = [words("publish key"), words("site"), words("name"), words("created at"), words("state")];
    List::new(&columns, keys.iter().map(row).collect(), keys)
}
