//! The command line.

mod admin;
mod gate;
mod remote;
mod run;
mod serve;
mod settings;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::admin::{
    AdminCommand, AtArgs, GateKeyCommand, KeyAtArgs, KeyType, Kind, MasterKeyArgs, NamespaceCommand,
    ServiceAtArgs, ServiceKind, SettingsKeyCommand, TenantCommand, TokenCommand,
};
pub(crate) use self::gate::{
    GateCommand, GateKillArgs, GateSetArgs, GateSimulateArgs, GateStatusArgs, Setting, Switch,
};
pub(crate) use self::remote::{
    PullArgs, PushArgs, RemoteArgs, RollbackArgs, ServerArgs, VersionDiffArgs, VersionsArgs,
};
pub(crate) use self::run::RunArgs;
pub(crate) use self::serve::{LogFormat, ServeArgs, StoreArgs};
pub(crate) use self::settings::{
    DeleteArgs, ExportArgs, ExportForm, GetArgs, ListArgs, NamesArgs, ServiceArgs, SetArgs, SettingKind,
    SettingsCommand, SettingsWatchArgs, ValueForm,
};

/// Feature flags from files: lint, evaluate, explain, compare, package.
#[derive(Debug, Parser)]
#[command(name = "leverframe", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 ok · 1 the thing checked is bad · 2 usage · 3 files or network · 4 refused"
)]
pub(crate) struct Cli {
    /// When to colour: on a terminal (and not with NO_COLOR), always, or never
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a namespace: every finding with its code, place and next step
    #[command(after_help = "Examples:
  leverframe lint examples/namespaces/payments
  leverframe lint payments-v8.tar.gz --deny-warnings
  leverframe lint . --format json
  leverframe lint --explain E034")]
    Lint(LintArgs),
    /// Evaluate one flag, or all of them, for a context
    #[command(after_help = "Examples:
  leverframe eval new-checkout --env production --manifest examples/namespaces/payments --ctx user.id=u-1
  leverframe eval --env production --ctx-file user.json --format json
  leverframe eval new-checkout --env production --ctx user.country=DE --trace

A context is given as `--ctx key=value`: true and false are booleans, digits are integers, decimals are floats,
[a,b] is a list of strings, anything else is a string. key=\"7\" forces a string, key:=JSON takes JSON.")]
    Eval(EvalArgs),
    /// Explain how a flag resolves, what it reads, and what would change the result
    #[command(after_help = "Examples:
  leverframe explain new-checkout --env production
  leverframe explain new-checkout --env production --ctx user.id=u-1          # and why not another variant
  leverframe explain new-checkout --env production --ctx user.country=US --want on
  leverframe explain --env production")]
    Explain(ExplainArgs),
    /// Show which attributes flags read: their types, whether they are required, and where that comes from
    #[command(after_help = "Examples:
  leverframe schema new-checkout --env production --manifest examples/namespaces/payments
  leverframe schema --format jsonschema > context.schema.json
  leverframe schema new-checkout --format rust > src/context.rs")]
    Schema(SchemaArgs),
    /// Make contexts that reach each rule of a flag, with what each of them gets
    #[command(after_help = "Examples:
  leverframe fixtures checkout-cta --env production --manifest examples/namespaces/payments
  leverframe fixtures checkout-cta --env production --coverage exhaustive --format rust > tests/checkout_cta.rs")]
    Fixtures(FixturesArgs),
    /// Compare two versions of a namespace: what changed, and exactly how many buckets move
    #[command(after_help = "Examples:
  leverframe diff payments-v7.tar.gz payments
  leverframe diff old new --max-moved 5%   # exit code 1 where more than 5 % of the buckets of some flag move")]
    Diff(DiffArgs),
    /// Pack a namespace into an archive, unpack one, or manage its versions on a server
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Look at and steer the gate of a fleet: limits, the kill switch, what instances report
    #[command(subcommand)]
    Gate(GateCommand),
    /// Look at and change what a settings service holds: configs, secrets and flags
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Run a command with the settings of a service as variables or files
    #[command(after_help = "Examples:
  leverframe run -- ./server --port 8080
  leverframe run --env-prefix APP_ --only db.url,db.password --rename db.url=DATABASE_URL -- env
  leverframe run --watch -- ./server                       # started again when a setting changes
  leverframe run --files /run/app/settings -- ./server     # /run/app/settings/db.password and so on
  leverframe run --cache /var/cache/app --cache-key-file /etc/app/cache.key -- ./server

The setting `db.url` is the variable DB_URL. Flags are true or false, and configs that are no texts are JSON. A secret that is a \
file is one here, and its variable holds the path. Signals are passed on. The exit code is that of the command, or 128 and the \
number of the signal that ended it; 127 if it is not found, 126 if it cannot be run.")]
    Run(RunArgs),
    /// Work on a server's store directly: the first token, tenants, namespaces, tokens, gate keys, backups
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Run the server: manifests, events, evaluation and the console over HTTP
    #[command(after_help = "Examples:
  leverframe serve                                   # http://127.0.0.1:8080, data in ./leverframe-data
  leverframe serve --listen 0.0.0.0:443 --data /var/lib/leverframe --tls-cert chain.pem --tls-key key.pem
  leverframe serve --database-file /run/secrets/database-url --log-format json

SIGTERM and Ctrl-C stop accepting and let running requests end; a second one ends at once. SIGHUP reads certificate and
key again. Arguments go before LEVERFRAME_* variables, those before EXD_*.")]
    Serve(ServeArgs),
    /// Follow a namespace: print each change as it lands, with what it moves
    #[command(after_help = "Examples:
  leverframe watch https://flags.example.com/payments.tar.gz --interval 10
  leverframe watch git+https://git.example.com/flags.git#main:payments
  leverframe watch file:///etc/app/payments --changes 1 --format json

Credentials come from the URI, from --token-file, or from LEVERFRAME_SOURCE__HTTPS__BEARER_TOKEN and its like.")]
    Watch(WatchArgs),
    /// Make a key pair to sign namespaces with
    #[command(after_help = "Example:
  leverframe keygen release.key      # writes the secret key, prints the public one")]
    Keygen(KeygenArgs),
    /// Sign a namespace: a directory gets `leverframe.sig`, an archive gets FILE.sig beside it
    #[command(after_help = "Examples:
  leverframe sign payments --key release.key
  leverframe sign payments-v8.tar.gz --key release.key --expires 90d
  leverframe sign payments --key second.key --add     # beside the signatures that are there")]
    Sign(SignArgs),
    /// Verify the signature of a namespace
    #[command(after_help = "Example:
  leverframe verify payments-v8.tar.gz --trusted lvf-pub-... --trusted lvf-pub-... --threshold 2")]
    Verify(VerifyArgs),
    /// Start a new namespace that lints clean
    #[command(after_help = "Examples:
  leverframe init payments
  leverframe init . --slug payments")]
    Init(InitArgs),
    /// Generate a large, realistic namespace for load tests
    #[command(after_help = "Example:
  leverframe gen --flags 10000 --seed 1 /tmp/large")]
    Gen(GenArgs),
    /// List the backends that are registered
    #[command(after_help = "Example:
  leverframe plugins --format json")]
    Plugins(FormatArgs),
    /// Look at the effective configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write completions for a shell
    #[command(after_help = "Example:
  leverframe completions bash > /etc/bash_completion.d/leverframe")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Show the whole thing at work on the payments namespace
    #[command(after_help = "Example:
  leverframe demo --once")]
    Demo {
        /// End after the first change was picked up
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// The namespace: a directory, an archive, or a URI
    #[arg(default_value = ".")]
    pub(crate) place: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Fail on warnings as well
    #[arg(long)]
    pub(crate) deny_warnings: bool,
    /// Refuse files whose `schema_version` has another major number
    #[arg(long, value_name = "N")]
    pub(crate) schema_major: Option<u64>,
    /// Show infos as well
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Say what a code means, and do nothing else
    #[arg(long, value_name = "CODE", conflicts_with = "place")]
    pub(crate) explain: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// An attribute of the context; may be repeated
    #[arg(long = "ctx", value_name = "KEY=VALUE")]
    pub(crate) ctx: Vec<String>,
    /// A JSON file with the attributes; `--ctx` wins over it
    #[arg(long, value_name = "FILE")]
    pub(crate) ctx_file: Option<PathBuf>,
    /// Apply rules of blocks with `testing = true`
    #[arg(long)]
    pub(crate) include_testing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// The namespace: a directory, an archive, or a URI
    #[arg(long, value_name = "PATH-OR-URI", default_value = ".")]
    pub(crate) manifest: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The flag; all flags where it is left out
    pub(crate) flag: Option<String>,
    /// The environment
    #[arg(long, value_name = "ENV")]
    pub(crate) env: String,
    #[command(flatten)]
    pub(crate) manifest: ManifestArgs,
    #[command(flatten)]
    pub(crate) context: ContextArgs,
    /// Show each step
    #[arg(long)]
    pub(crate) trace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The flag; an overview of all flags where it is left out
    pub(crate) flag: Option<String>,
    /// The environment; every environment where it is left out
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    #[command(flatten)]
    pub(crate) manifest: ManifestArgs,
    #[command(flatten)]
    pub(crate) context: ContextArgs,
    /// The variant to look for in the nearest change of context [default: any other]
    #[arg(long, value_name = "VARIANT", requires = "flag")]
    pub(crate) want: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The namespace as it was: a directory, an archive, or a URI
    pub(crate) old: String,
    /// The namespace as it is to be
    pub(crate) new: String,
    /// Fail where more than this share of a flag's buckets moves, such as 5%
    #[arg(long, value_name = "PERCENT")]
    pub(crate) max_moved: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The flag; the union over all flags where it is left out
    pub(crate) flag: Option<String>,
    /// The environment; every environment where it is left out
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// The namespace: a directory, an archive, or a URI
    #[arg(long, value_name = "PATH-OR-URI", default_value = ".")]
    pub(crate) manifest: String,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = SchemaFormat::Human)]
    pub(crate) format: SchemaFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SchemaFormat {
    Human,
    Json,
    Jsonschema,
    Rust,
    Typescript,
}

#[derive(Debug, Args)]
pub(crate) struct FixturesArgs {
    /// The flag
    pub(crate) flag: String,
    /// The environment
    #[arg(long, value_name = "ENV")]
    pub(crate) env: String,
    /// The namespace: a directory, an archive, or a URI
    #[arg(long, value_name = "PATH-OR-URI", default_value = ".")]
    pub(crate) manifest: String,
    /// How much is covered
    #[arg(long, value_enum, default_value_t = Coverage::RulesFallthrough)]
    pub(crate) coverage: Coverage,
    /// What entity ids begin with; equal seeds give equal fixtures
    #[arg(long, value_name = "PREFIX", default_value = "u")]
    pub(crate) seed: String,
    /// Apply rules of blocks with `testing = true`
    #[arg(long)]
    pub(crate) include_testing: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = FixtureFormat::Human)]
    pub(crate) format: FixtureFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FixtureFormat {
    Human,
    Json,
    Rust,
    Typescript,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Coverage {
    /// One context for each rule
    Rules,
    /// And one that no rule matches
    #[value(name = "rules+fallthrough")]
    RulesFallthrough,
    /// And one id for each end of a bucket range, and one beyond it
    Exhaustive,
}

impl From<Coverage> for leverframe::eval::Coverage {
    fn from(coverage: Coverage) -> Self {
        match coverage {
            Coverage::Rules => Self::Rules,
            Coverage::RulesFallthrough => Self::RulesAndFallthrough,
            Coverage::Exhaustive => Self::Exhaustive,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Write the archive of a namespace directory; it must lint without errors
    #[command(after_help = "Example:
  leverframe manifest pack payments -o payments-v8.tar.gz")]
    Pack {
        /// The namespace directory
        dir: PathBuf,
        /// The archive to write [default: the slug and `.tar.gz`]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the files of an archive into a new directory
    #[command(after_help = "Example:
  leverframe manifest unpack payments-v8.tar.gz payments")]
    Unpack {
        /// The archive
        archive: PathBuf,
        /// The directory to make; it must not exist, or be empty
        dir: PathBuf,
    },
    /// Upload a namespace directory to a server, as a new version
    #[command(after_help = "Examples:
  leverframe manifest push payments ./payments --if-version 8
  leverframe manifest push acme/payments ./payments --server https://flags.example.com --token-file write.token

Exit code 1: lint errors, or another version is current than --if-version says; nothing is changed then.")]
    Push(PushArgs),
    /// Make a directory hold a version of a namespace; files that are not the namespace's are left alone
    #[command(
        after_help = "Examples:
  leverframe manifest pull payments
  leverframe manifest pull acme/payments ./payments --version 7",
        disable_version_flag = true
    )]
    Pull(PullArgs),
    /// List the versions of a namespace, the newest first
    #[command(after_help = "Example:
  leverframe manifest versions payments --limit 10")]
    Versions(VersionsArgs),
    /// Compare two versions of a namespace: what changed, and exactly how many buckets move
    #[command(after_help = "Examples:
  leverframe manifest diff payments 7
  leverframe manifest diff payments 5 7 --format json")]
    Diff(VersionDiffArgs),
    /// Make the content of an old version current again, as a new version
    #[command(
        after_help = "Example:
  leverframe manifest rollback payments 7",
        disable_version_flag = true
    )]
    Rollback(RollbackArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Where the namespace is: a URI, a directory or an archive
    pub(crate) place: String,
    /// The longest time between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(crate) interval: f64,
    /// End after this many changes
    #[arg(long, value_name = "N")]
    pub(crate) changes: Option<u64>,
    /// A file with a bearer token for the source
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// The file to write the secret key to; it must not exist
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The namespace: a directory or an archive
    pub(crate) place: PathBuf,
    /// A file with a secret key; may be repeated
    #[arg(long = "key", value_name = "FILE", required = true)]
    pub(crate) keys: Vec<PathBuf>,
    /// The place in the succession of signed states [default: one more than the signature that is there]
    #[arg(long, value_name = "N", conflicts_with = "add")]
    pub(crate) counter: Option<u64>,
    /// How long the signature holds, such as 90d or 12h [default: for ever]
    #[arg(long, value_name = "DURATION", conflicts_with = "add")]
    pub(crate) expires: Option<String>,
    /// Add to the signature that is there instead of making a new one
    #[arg(long)]
    pub(crate) add: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The namespace: a directory, an archive, or a URI
    pub(crate) place: String,
    /// A public key that is believed; may be repeated
    #[arg(long = "trusted", value_name = "KEY", required = true)]
    pub(crate) trusted: Vec<String>,
    /// How many believed keys must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threshold: usize,
    /// The lowest counter that is accepted
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) lowest_counter: u64,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory to make; it must not exist, or be empty
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The namespace's slug [default: the directory's name]
    #[arg(long)]
    pub(crate) slug: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GenArgs {
    /// How many flags
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) flags: u32,
    /// Equal seeds give equal namespaces
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The directory to make; it must not exist, or be empty
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every effective key with its value and the layer it came from; secrets as ***
    #[command(after_help = "Example:
  LEVERFRAME_CACHE__USE=file leverframe config explain --config leverframe.toml")]
    Explain {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Write the reference of every setting as Markdown
    #[command(after_help = "Example:
  leverframe config reference > configuration.md")]
    Reference,
}
