//! What the store promises of settings.

mod backup;
mod entries;
mod fixtures;
mod keys;
mod limits;
mod model;
mod replicas;
mod requests;
mod secrets;
mod seen;
mod services;
