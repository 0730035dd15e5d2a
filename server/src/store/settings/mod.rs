//! Services, their keys, and what they have.
//!
//! Whoever writes an entry holds the service's row until it is done: writes of one service follow each other, and no
//! version is given twice. A write whose check depended on what is inherited holds the umbrella service as well, and so
//! does whoever makes a service an heir: as long as an umbrella service is held, nobody comes to depend on it, and those
//! who do wait. Who holds several services takes umbrella services before others, and each sort in the order of names;
//! the log of changes comes last. So nobody waits for who waits for them.

mod data_keys;
mod held;
mod keys;
mod records;
mod services;
mod write;
