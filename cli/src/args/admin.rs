//! What `admin` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{FormatArgs, StoreArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Issue the first token, a superadmin's; its secret is printed once and kept nowhere
    #[command(after_help = "Examples:
  leverframe admin bootstrap --data /var/lib/leverframe > superadmin.token
  leverframe admin bootstrap --force --name recovery      # beside the live ones")]
    Bootstrap {
        /// What the token is called
        #[arg(long, value_name = "NAME", default_value = "bootstrap")]
        name: String,
        /// Issue one although a live superadmin exists
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Create and list tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Create and list namespaces
    #[command(subcommand)]
    Namespace(NamespaceCommand),
    /// Issue, list and revoke tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Issue, list and revoke the keys that clients of the gate report with
    #[command(subcommand)]
    GateKey(GateKeyCommand),
    /// Issue, list and revoke the keys that clients of settings ask with
    #[command(subcommand)]
    SettingsKey(SettingsKeyCommand),
    /// Replace the master key, which seals what secrets are sealed with; servers may run meanwhile
    #[command(after_help = "Examples:
  (umask 077; openssl rand -base64 32 > new.key)
  leverframe admin rekey --new-master-key-file new.key --data /var/lib/leverframe
  leverframe admin rekey --master-key-file old.key --new-master-key-file new.key --database-file url

A key that the data directory keeps is replaced there. Where servers have it from a file of yours, put the new key into that file \
first, on a line below the old one, and take the old one out when this is done. What was broken off is finished by the same \
command.")]
    Rekey {
        #[command(flatten)]
        master_key: MasterKeyArgs,
        /// A file with the key that is to replace it, 32 bytes in base64 or hexadecimal
        #[arg(long, value_name = "FILE")]
        new_master_key_file: PathBuf,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Bring the database up to date; a server does so when it starts
    #[command(after_help = "Example:
  leverframe admin migrate --data /var/lib/leverframe")]
    Migrate {
        #[command(flatten)]
        at: AtArgs,
    },
    /// Write a copy of everything to a new file, also while servers run
    #[command(after_help = "Example:
  leverframe admin backup leverframe-2026-04-25.backup --data /var/lib/leverframe")]
    Backup {
        /// The file to write; it must not exist
        file: PathBuf,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Take everything over from a backup, into an empty store
    #[command(after_help = "Example:
  leverframe admin restore leverframe-2026-04-25.backup --data /var/lib/leverframe-new")]
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        at: AtArgs,
    },
}

/// Where the store is, and how results are written.
#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant, which owns namespaces
    #[command(after_help = "Examples:
  leverframe admin tenant create acme
  leverframe admin tenant create acme --display-name 'Acme Corp.' --email-domain acme.example")]
    Create {
        /// `[a-z][a-z0-9-]*`, for ever
        slug: String,
        /// Name for people [default: the slug]
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// The domain whose people are to be its admins
        #[arg(long, value_name = "DOMAIN", conflicts_with = "sso_provider")]
        email_domain: Option<String>,
        /// The provider that its people are to log in through. Nobody logs in yet: tokens do everything
        #[arg(long, value_name = "ID", default_value = "default")]
        sso_provider: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// List tenants
    #[command(after_help = "Example:
  leverframe admin tenant list --format json")]
    List {
        #[command(flatten)]
        at: AtArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Create a namespace of a tenant
    #[command(after_help = "Example:
  leverframe admin namespace create acme/payments")]
    Create {
        /// The tenant and the namespace's slug, `[a-z][a-z0-9-]*`
        #[arg(value_name = "TENANT/NAMESPACE")]
        name: String,
        /// Name for people [default: the slug]
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// List namespaces with their current versions
    #[command(after_help = "Example:
  leverframe admin namespace list --tenant acme")]
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        #[command(flatten)]
        at: AtArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a token; its secret is printed once and kept nowhere
    #[command(after_help = "Examples:
  leverframe admin token mint read acme/payments --name checkout > read.token
  leverframe admin token mint write acme/payments --name ci --expires 90d
  leverframe admin token mint client acme/payments --environment production --allowed-origin https://shop.example
  leverframe admin token mint tenant-admin acme")]
    Mint {
        /// What it may do
        #[arg(value_enum)]
        kind: Kind,
        /// What it is bound to: nothing for a superadmin, the tenant for its admin, the namespace for the others
        #[arg(value_name = "TENANT[/NAMESPACE]")]
        bound_to: Option<String>,
        /// Name for people
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
        /// The environment that a client token is bound to
        #[arg(long, value_name = "ENV")]
        environment: Option<String>,
        /// An origin that may use a client token; may be repeated
        #[arg(long = "allowed-origin", value_name = "ORIGIN")]
        allowed_origins: Vec<String>,
        /// When it ends to be valid, such as 90d, 12h or 30m from now [default: never]
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        #[command(flatten)]
        at: AtArgs,
    },
    /// List tokens, without their secrets, which nobody keeps
    #[command(after_help = "Example:
  leverframe admin token list --tenant acme --live")]
    List {
        /// Only those bound to this tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Only those bound to this namespace of the tenant
        #[arg(long, value_name = "NAMESPACE", requires = "tenant")]
        namespace: Option<String>,
        /// Only those of this type
        #[arg(long = "type", value_enum, value_name = "TYPE")]
        kind: Option<Kind>,
        /// Only those that are neither revoked nor expired
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Revoke a token at once, with the event streams that it opened
    #[command(after_help = "Example:
  leverframe admin token revoke tok_01HV5XK1EFQT8N3JRDCP7MW04A")]
    Revoke {
        /// The token's id, which `list` shows; not its secret
        id: String,
        #[command(flatten)]
        at: AtArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GateKeyCommand {
    /// Issue a key; its secret is printed once and kept nowhere
    #[command(after_help = "Examples:
  leverframe admin gate-key create --org acme --data /var/lib/leverframe > gate.env
  leverframe admin gate-key create --org acme --site eu --name checkout --format json
  leverframe admin gate-key create --org acme --server https://flags.example.com --token-file admin.token")]
    Create {
        /// The organisation that it reports for, `[a-z][a-z0-9-]*`; the tenant of that name governs it
        #[arg(long, value_name = "ORG")]
        org: String,
        /// The one site that it may report for [default: any]
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
        /// Name for people
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
        #[command(flatten)]
        at: KeyAtArgs,
    },
    /// List an organisation's keys, without their secrets, which nobody keeps
    #[command(after_help = "Example:
  leverframe admin gate-key list --org acme")]
    List {
        /// The organisation
        #[arg(long, value_name = "ORG")]
        org: String,
        #[command(flatten)]
        at: KeyAtArgs,
    },
    /// Revoke a key: what reports with it is refused from then on
    #[command(after_help = "Example:
  leverframe admin gate-key revoke wpk_J3lHBsCz0pJ7Pu2fQ9XtVw --org acme")]
    Revoke {
        /// The publish key, which `list` shows; not the secret
        publish_key: String,
        /// The organisation
        #[arg(long, value_name = "ORG")]
        org: String,
        #[command(flatten)]
        at: KeyAtArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsKeyCommand {
    /// Issue a key, and create the tenant, namespace and service where they are missing; it is printed once and kept nowhere
    #[command(after_help = "Examples:
  leverframe admin settings-key create --data /var/lib/leverframe > settings.key
  leverframe admin settings-key create --tenant acme --namespace web --environment staging --name checkout
  leverframe admin settings-key create --tenant acme --namespace web --kind frontend --type pk --format json")]
    Create {
        #[command(flatten)]
        service: ServiceAtArgs,
        /// What the service is, for ever
        #[arg(long, value_enum, default_value_t = ServiceKind::Backend)]
        kind: ServiceKind,
        /// What the key may do
        #[arg(long = "type", value_enum, value_name = "TYPE", default_value_t = KeyType::Sk)]
        key_type: KeyType,
        /// Begin it with sk_live_ or pk_live_, as clients before 0.15 expect it
        #[arg(long)]
        legacy: bool,
        /// Name for people
        #[arg(long, value_name = "NAME", default_value = "")]
        name: String,
        #[command(flatten)]
        master_key: MasterKeyArgs,
        #[command(flatten)]
        at: AtArgs,
    },
    /// List the keys of a service, without what is secret in them, which nobody keeps
    #[command(after_help = "Example:
  leverframe admin settings-key list --tenant acme --namespace web --environment staging")]
    List {
        #[command(flatten)]
        service: ServiceAtArgs,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Revoke a key: what asks with it is refused from then on
    #[command(after_help = "Example:
  leverframe admin settings-key revoke set_01HV5XK1EFQT8N3JRDCP7MW04A --tenant acme --namespace web")]
    Revoke {
        /// The key's id, which `list` shows; not the key
        id: String,
        #[command(flatten)]
        service: ServiceAtArgs,
        #[command(flatten)]
        at: AtArgs,
    },
}

/// Which service of settings.
#[derive(Debug, Args)]
pub(crate) struct ServiceAtArgs {
    /// The tenant
    #[arg(long, value_name = "TENANT", default_value = "default")]
    pub(crate) tenant: String,
    /// The namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// The environment
    #[arg(long, value_name = "ENV", default_value = "production")]
    pub(crate) environment: String,
}

/// What seals the keys that secrets are sealed with.
#[derive(Debug, Args)]
pub(crate) struct MasterKeyArgs {
    /// A file with the master key [default: one that the data directory keeps] [env: LEVERFRAME_MASTER_KEY_FILE; the key
    /// itself: LEVERFRAME_MASTER_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

/// What a service of settings is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceKind {
    /// Runs where its keys are safe, and may have secrets
    Backend,
    /// Runs at its users', and has no secrets
    Frontend,
}

/// What a key of settings may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    /// Reads and writes everything
    #[value(alias = "secret")]
    Sk,
    /// Reads configs and flags, and may be shown to users
    #[value(alias = "public")]
    Pk,
}

/// Where keys are kept: a store on this machine, or a server.
#[derive(Debug, Args)]
pub(crate) struct KeyAtArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Ask this server instead of working on its store
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "database", "database_file"])]
    pub(crate) server: Option<String>,
    /// The token for that [env: LEVERFRAME_API_TOKEN, EXD_API_TOKEN]. Who lists processes sees it here: prefer a file or
    /// the environment
    #[arg(long, value_name = "SECRET", requires = "server", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file that holds the token and nothing else
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// The types of tokens.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Downloads and evaluates one namespace
    #[value(alias = "namespace-read", alias = "namespace_read")]
    Read,
    /// And uploads
    #[value(alias = "namespace-write", alias = "namespace_write")]
    Write,
    /// Evaluates one public environment of one namespace, from browsers and the like
    #[value(alias = "namespace-client", alias = "namespace_client")]
    Client,
    /// Everything in one tenant
    #[value(alias = "tenant_admin")]
    TenantAdmin,
    /// Everything
    Superadmin,
}
