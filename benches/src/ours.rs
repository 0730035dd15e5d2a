//! Leverframe, fed as the peers are: files from memory, a client, a context for each user.

use std::{fmt, iter};

use leverframe::{EvalContext, ExdClient, FlagHandle, Namespace};

use crate::{
    engine::Engine,
    workload::{ENVIRONMENT, TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The client, the namespace behind it, and a context for each user.
pub struct Leverframe {
    pub client: ExdClient,
    pub namespace: Namespace,
    pub contexts: Vec<EvalContext>,
}

impl Engine for Leverframe {
    const NAME: &'static str = "leverframe";

    fn new(workload: &Workload) -> Self {
        let namespace = Namespace::from_files("benches", files(workload)).expect("the files are well-formed");
        let built = ExdClient::builder().namespace_inline(namespace.clone()).environment(ENVIRONMENT).build();
        let client = runtime().block_on(built).expect("the client has a namespace and an environment");
        let contexts = workload
            .users
            .iter()
            .map(|user| {
                EvalContext::builder()
                    .str("user.id", &user.id)
                    .str("user.country", user.country)
                    .str("user.plan", user.plan)
                    .build()
            })
            .collect();
        Self { client, namespace, contexts }
    }

    #[inline]
    fn is_on(&self, flag: &str, user: usize) -> bool {
        self.client.bool_flag_sync(flag, &self.contexts[user], false)
    }
}

/// Leverframe through a handle; good for the one flag that the handle is of.
#[derive(Debug)]
pub struct Handle<'a> {
    handle: FlagHandle<bool>,
    contexts: &'a [EvalContext],
}

impl<'a> Handle<'a> {
    /// Makes a handle of `flag`.
    #[must_use]
    pub fn new(engine: &'a Leverframe, flag: &str) -> Self {
        Self { handle: engine.client.flag(flag, false), contexts: &engine.contexts }
    }

    /// Evaluates the flag for the user of that index.
    #[inline]
    #[must_use]
    pub fn is_on(&self, user: usize) -> bool {
        self.handle.get(&self.contexts[user])
    }
}

/// Makes the runtime that building a client needs.
///
/// # Panics
/// When the system refuses one.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O needs nothing")
}

/// Writes the workload as a namespace with a roster of environments: 50 static flags, 50 flags with a segment each.
fn files(workload: &Workload) -> Vec<(String, String)> {
    let flag = |rule: &str, default: &str| {
        format!(
            "schema_version = \"0.1\"\n\
             [flag]\n\
             type = \"boolean\"\n\
             description = \"A flag of the workload\"\n\
             owner = \"benches\"\n\
             [flag.variants]\n\
             on = true\n\
             off = false\n\
             [flag.environments._]\n\
             variant = \"{default}\"\n\
             {rule}"
        )
    };
    let fixed = workload.static_flags.iter().map(|key| (format!("flags/{key}.toml"), flag("", "on")));
    let targeted = workload.targeted_flags.iter().flat_map(|key| {
        let rule = format!("[[flag.environments._.rules]]\nsegment = \"{key}\"\nvariant = \"on\"\n");
        let segment = format!(
            "schema_version = \"0.1\"\n\
             [segment]\n\
             description = \"Half of the premium users in three countries\"\n\
             [segment.predicate]\n\
             and = [\n\
             \x20 {{ attribute = \"user.country\", op = \"in\", values = {TARGETED_COUNTRIES:?} }},\n\
             \x20 {{ attribute = \"user.plan\", op = \"eq\", value = \"{TARGETED_PLAN}\" }},\n\
             ]\n\
             [segment.bucket]\n\
             entity_id_attribute = \"user.id\"\n\
             salt = \"{key}\"\n\
             start = 0\n\
             end = 4999\n"
        );
        [(format!("flags/{key}.toml"), flag(&rule, "off")), (format!("segments/{key}.toml"), segment)]
    });
    let namespace = "schema_version = \"0.1\"\n\
         [namespace]\n\
         slug = \"benches\"\n\
         [namespace.environments]\n\
         staging = {}\n\
         production = {}\n";
    let namespace = ("namespace.toml".to_owned(), namespace.to_owned());
    iter::once(namespace).chain(fixed).chain(targeted).collect()
}

impl fmt::Debug for Leverframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leverframe").field("client", &self.client).finish_non_exhaustive()
    }
}
