//! The control plane of the gate: who may report, what was reported, and the policy that comes of it.
//!
//! An organisation (*org*) is named like a tenant and governed by the tenant of that name. What its instances report is
//! counted by *site*, a part of it. Everything that must be shared between processes or survive them is in the store.
//!
//! A pulse goes through `report` (is it one), `keys` (who signed it), `commit` (count it, with others in one
//! transaction) and `control` (look at the rules if it is time); the answer is the policy of its site's `view`.

mod commit;
mod control;
mod issue;
mod keys;
mod metrics;
pub mod model;
mod policy;
mod report;
mod rules;
mod store;
mod token;
mod view;
mod watch;

pub(crate) use self::{
    control::Control,
    keys::Known,
    policy::{Rhythm, SHORTEST_LEASE_SECONDS},
    report::{is_tag, read as read_pulse},
    token::{Claims, VALID_FOR as TOKEN_VALID_FOR, millis},
    view::{Client, View},
    watch::patience,
};
pub use self::{
    issue::{IssuedGateKey, NewGateKey, issue_gate_key},
    metrics::GateMetrics,
    store::{Evaluate, GateStore},
};
