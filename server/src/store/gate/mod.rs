//! Gate keys, settings, and what fleets report.
//!
//! Whoever counts for a site, or decides about its rules, holds the site's row until it is done: what is counted can be
//! read, added to and written back, by any number of processes, and nothing is counted twice or lost. Locks are taken
//! in one order, orgs before sites and each by name, so that nobody waits for who waits for them.

mod batch;
mod count;
mod counts;
mod keys;
mod memory;
mod prune;
mod records;
mod rows;
mod rules;
mod settings;
mod sites;
mod window;
