//! `leverframe admin`: an operator's work, straight on the store.

mod gate_keys;
mod lists;
mod settings_keys;
mod tokens;

use std::{path::Path, sync::Arc};

use leverframe::{backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    ServeOptions,
    admin::Admin,
    model::{LoginMode, NamespaceRecord, Page, PageRequest, Tenant},
    store::{self, Store},
};
use serde_json::{Value, json};

use super::serve;
use crate::{
    args::{AdminCommand, AtArgs, Format, NamespaceCommand, StoreArgs, TenantCommand},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled},
};

pub(super) fn run(command: &AdminCommand, out: &mut Out) -> Result<u8, Failure> {
    if let AdminCommand::GateKey(command) = command {
        return gate_keys::run(command, out);
    }
    let Some(at) = place(command) else { return Ok(exit::OK) };
    at_desk(&at.store, at.format.format, async |desk| desk.run(command, out).await)
}

/// Opens the store, lets an operator work on it, and closes it.
fn at_desk<T>(
    store: &StoreArgs,
    format: Format,
    work: impl AsyncFnOnce(&Desk) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut options = ServeOptions::from_environment()?;
    serve::place(store, &mut options)?;
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(&options.data, options.database.as_ref(), Arc::clone(&clock)).await?;
        let desk = Desk {
            format,
            // A URL is not shown: it may hold a password.
            source: options
                .database
                .as_ref()
                .map_or_else(|| options.data.display().to_string(), |_| "database".to_owned()),
            admin: Admin::new(Arc::clone(&store), Arc::clone(&clock)),
            store: Arc::clone(&store),
            clock,
            options,
        };
        let done = work(&desk).await;
        store.close().await;
        done
    })
}

/// Where the store of a command is that works on nothing else.
fn place(command: &AdminCommand) -> Option<&AtArgs> {
    Some(match command {
        AdminCommand::Bootstrap { at, .. }
        | AdminCommand::Migrate { at }
        | AdminCommand::Rekey { at, .. }
        | AdminCommand::Backup { at, .. }
        | AdminCommand::Restore { at, .. }
        | AdminCommand::Tenant(TenantCommand::Create { at, .. } | TenantCommand::List { at })
        | AdminCommand::Namespace(NamespaceCommand::Create { at, .. } | NamespaceCommand::List { at, .. }) => {
            at
        }
        AdminCommand::Token(command) => tokens::place(command),
        AdminCommand::SettingsKey(command) => settings_keys::place(command),
        AdminCommand::GateKey(_) => return None,
    })
}

/// An operator at work, with what a command needs besides.
struct Desk {
    format: Format,
    source: String,
    admin: Admin,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Where the store is, as a server would have it.
    options: ServeOptions,
}

impl Desk {
    async fn run(&self, command: &AdminCommand, out: &mut Out) -> Result<u8, Failure> {
        match command {
            AdminCommand::Bootstrap { name, force, .. } => {
                let issued = self.admin.bootstrap(name, *force).await?;
                return self.hand_out(
                    "admin-bootstrap",
                    json!({ "name": name, "force": force }),
                    &issued,
                    out,
                );
            }
            AdminCommand::Token(command) => return self.token(command, out).await,
            // Not of the store alone.
            AdminCommand::GateKey(_) => Ok(()),
            AdminCommand::SettingsKey(command) => self.settings_key(command, out).await,
            AdminCommand::Rekey { master_key, new_master_key_file, .. } => {
                self.rekey(master_key, new_master_key_file, out).await
            }
            AdminCommand::Tenant(command) => self.tenant(command, out).await,
            AdminCommand::Namespace(command) => self.namespace(command, out).await,
            AdminCommand::Migrate { .. } => {
                self.store.migrate().await?;
                self.say(
                    "admin-migrate",
                    json!({}),
                    json!({ "up_to_date": true }),
                    "the store is up to date",
                    out,
                )
            }
            AdminCommand::Backup { file, .. } => {
                self.store.backup(file).await?;
                self.moved("admin-backup", file, "everything is in", out)
            }
            AdminCommand::Restore { file, .. } => {
                self.store.restore(file).await?;
                self.moved("admin-restore", file, "everything was taken over from", out)
            }
        }?;
        Ok(exit::OK)
    }

    async fn tenant(&self, command: &TenantCommand, out: &mut Out) -> Result<(), Failure> {
        match command {
            TenantCommand::Create { slug, display_name, email_domain, sso_provider, .. } => {
                let mode = if email_domain.is_some() { LoginMode::EmailDomain } else { LoginMode::Sso };
                let mut tenant = Tenant::new(slug, mode, self.clock.wall());
                match email_domain {
                    Some(domain) => tenant.email_domain = Some(domain.clone()),
                    None => tenant.sso_provider = Some(sso_provider.clone()),
                }
                if let Some(name) = display_name {
                    tenant.display_name.clone_from(name);
                }
                self.admin.create_tenant(&tenant).await?;
                let text = format!("created tenant {}", styled(BOLD, slug));
                self.say("admin-tenant-create", json!({ "slug": slug }), lists::tenant(&tenant), &text, out)
            }
            TenantCommand::List { .. } => {
                let tenants = all(async |page| self.admin.tenants(page).await).await?;
                self.list("admin-tenant-list", json!({}), "tenants", &lists::tenants(&tenants), out)
            }
        }
    }

    async fn namespace(&self, command: &NamespaceCommand, out: &mut Out) -> Result<(), Failure> {
        match command {
            NamespaceCommand::Create { name, display_name, description, .. } => {
                let (tenant, slug) = name.split_once('/').ok_or_else(|| {
                    Failure::usage(format!("`{name}` names no tenant")).with_hint("write it as acme/payments")
                })?;
                let mut namespace = NamespaceRecord::new(tenant, slug, self.clock.wall());
                namespace.description.clone_from(description);
                if let Some(name) = display_name {
                    namespace.display_name.clone_from(name);
                }
                self.admin.create_namespace(&namespace).await?;
                let text = format!("created namespace {}", styled(BOLD, name));
                let inputs = json!({ "tenant": tenant, "slug": slug });
                self.say("admin-namespace-create", inputs, lists::namespace(&namespace), &text, out)
            }
            NamespaceCommand::List { tenant, .. } => {
                let list = async |page: &PageRequest| self.admin.namespaces(tenant.as_deref(), page).await;
                let table = lists::namespaces(&all(list).await?);
                self.list("admin-namespace-list", json!({ "tenant": tenant }), "namespaces", &table, out)
            }
        }
    }

    fn moved(&self, query: &'static str, file: &Path, words: &str, out: &mut Out) -> Result<(), Failure> {
        let text = format!("{words} {}", file.display());
        self.say(query, json!({ "file": file }), json!({ "file": file }), &text, out)
    }

    /// Writes a result that is a sentence for people.
    fn say(
        &self,
        query: &'static str,
        inputs: Value,
        result: Value,
        text: &str,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Human => out.line(text),
            Format::Json => Envelope::new(query, inputs, &self.source).write(out, result),
        }
    }

    /// Writes a result that is a table for people.
    fn list(
        &self,
        query: &'static str,
        inputs: Value,
        of: &str,
        table: &lists::List,
        out: &mut Out,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Human => table.write(of, out),
            Format::Json => {
                let result = json!({ of: table.entries });
                Envelope::new(query, inputs, &self.source).write(out, result)
            }
        }
    }
}

/// Reads a whole list, part by part.
async fn all<T>(part: impl AsyncFn(&PageRequest) -> leverframe::Result<Page<T>>) -> Result<Vec<T>, Failure> {
    const PART: usize = 500;
    let mut page = part(&PageRequest::first(PART)).await?;
    let mut items = page.items;
    while let Some(next) = page.next {
        page = part(&PageRequest::after(PART, next)).await?;
        items.append(&mut page.items);
    }
    Ok(items)
}
