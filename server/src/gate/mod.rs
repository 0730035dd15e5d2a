//! The control plane of the gate: who may report, what was reported, and the policy that comes of it.
//!
//! An organisation (*org*) is named like a tenant and governed by the tenant of that name. What its instances report is
//! counted by *site*, a part of it. Everything that must be shared between processes or survive them is in the store.

mod issue;
pub mod model;
mod store;

pub use self::{
    issue::{IssuedGateKey, NewGateKey, issue_gate_key},
    store::{Evaluate, GateStore},
};
