//! `leverframe admin settings-key …` and `leverframe admin rekey`

use leverframe::rfc3339;
use leverframe_server::{
    model::PageRequest,
    settings::{
        Keyring, MadeSettingsKey, NewSettingsKey,
        model::{Kind, ServiceId, SettingsKey},
    },
};
use serde_json::{Value, json};

use super::{Desk, all, lists::List};
use crate::{
    args::{AtArgs, Format, KeyType, MasterKeyArgs, ServiceAtArgs, ServiceKind, SettingsKeyCommand},
    commands::serve,
    failure::Failure,
    output::{BOLD, Envelope, Out, plural, styled, words},
};

/// Where a command's store is.
pub(super) fn place(command: &SettingsKeyCommand) -> &AtArgs {
    match command {
        SettingsKeyCommand::Create { at, .. }
        | SettingsKeyCommand::List { at, .. }
        | SettingsKeyCommand::Revoke { at, .. } => at,
    }
}

impl Desk {
    pub(super) async fn settings_key(
        &self,
        command: &SettingsKeyCommand,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match command {
            SettingsKeyCommand::Create { service, kind, key_type, legacy, name, master_key, .. } => {
                let mut new = NewSettingsKey::new(id(service), *key_type == KeyType::Pk);
                (new.legacy, new.name) = (*legacy, name.clone());
                let kind = match kind {
                    ServiceKind::Backend => Kind::Backend,
                    ServiceKind::Frontend => Kind::Frontend,
                };
                let keyring = self.keyring(master_key).await?;
                let made = self.admin.settings_key(&keyring, &new, kind).await?;
                self.hand_out_settings_key(service, &made, out)
            }
            SettingsKeyCommand::List { service, .. } => {
                let of = id(service);
                let keys = all(async |page: &PageRequest| self.admin.settings_keys(&of, page).await).await?;
                self.list("admin-settings-key-list", inputs(service), "keys", &table(&keys), out)
            }
            SettingsKeyCommand::Revoke { id: key, service, .. } => {
                let revoked = self.admin.revoke_settings_key(&id(service), key).await?;
                let text = if revoked { "revoked" } else { "it was revoked before:" };
                let text = format!("{text} {}", styled(BOLD, key));
                let mut inputs = inputs(service);
                inputs["id"] = json!(key);
                self.say("admin-settings-key-revoke", inputs, json!({ "revoked": revoked }), &text, out)
            }
        }
    }

    /// Prints a key: the only time that it is seen. Alone on standard output, so that it can be sent to a file.
    fn hand_out_settings_key(
        &self,
        service: &ServiceAtArgs,
        made: &MadeSettingsKey,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let key = &made.issued.key;
        let secret = &made.issued.secret;
        match self.format {
            Format::Human => {
                for created in &made.created {
                    out.note(format!("created {created}"));
                }
                let what = if key.public { "public" } else { "secret" };
                let named = styled(BOLD, &key.id);
                out.note(format!(
                    "{named} ({what}) for {}; keep the key, it is not shown again:",
                    key.service
                ));
                out.line(secret.expose())
            }
            Format::Json => {
                let mut result = in_json(key);
                result["key"] = json!(secret.expose());
                result["endpoint_slug"] = json!(made.service.slug);
                result["kind"] = json!(made.service.kind.as_str());
                result["created"] = json!(made.created);
                Envelope::new("admin-settings-key-create", inputs(service), &self.source).write(out, result)
            }
        }
    }

    pub(super) async fn rekey(
        &self,
        master_key: &MasterKeyArgs,
        new: &std::path::Path,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let old = self.keyring(master_key).await?;
        let new_keyring = Keyring::from_file(new)?;
        let done = self.admin.rekey(&old, &new_keyring).await?;
        let text = match done {
            0 => "every data key is sealed by the new master key already".to_owned(),
            done => format!("sealed {} by the new master key", plural(done, "data key")),
        };
        self.say(
            "admin-rekey",
            json!({ "new_master_key_file": new }),
            json!({ "data_keys": done }),
            &text,
            out,
        )
    }

    async fn keyring(&self, args: &MasterKeyArgs) -> Result<Keyring, Failure> {
        serve::keyring(args, &self.options, &*self.store).await
    }
}

fn id(service: &ServiceAtArgs) -> ServiceId {
    ServiceId::new(&service.tenant, &service.namespace, &service.environment)
}

fn inputs(service: &ServiceAtArgs) -> Value {
    json!({ "tenant": service.tenant, "namespace": service.namespace, "environment": service.environment })
}

fn in_json(key: &SettingsKey) -> Value {
    json!({
        "key_id": key.id,
        "type": if key.public { "pk" } else { "sk" },
        "name": key.name,
        "created_at": rfc3339(key.created_at),
        "created_by": key.created_by,
        "revoked_at": key.revoked_at.map(rfc3339),
    })
}

fn table(keys: &[SettingsKey]) -> List {
    let row = |key: &SettingsKey| {
        let state = if key.revoked_at.is_none() { "live" } else { "revoked" };
        let what = if key.public { "pk" } else { "sk" };
        [&key.id, what, &key.name, &rfc3339(key.created_at), state].map(str::to_owned).to_vec()
    };
    let columns = [words("id"), words("type"), words("name"), words("created at"), words("state")];
    List::new(&columns, keys.iter().map(row).collect(), keys.iter().map(in_json).collect())
}
