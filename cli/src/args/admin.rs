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
