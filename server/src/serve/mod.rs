//! A running server: how it starts, accepts, drains and stops.

pub(crate) use self::connection::Peer;
pub use self::{
    options::ServeOptions,
    server::{Running, Server},
    tls::TlsFiles,
};

mod connection;
mod options;
mod patience;
mod server;
mod tls;
