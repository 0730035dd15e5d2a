//! Ports that nobody else takes meanwhile.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// A port that was free a moment ago. Servers that can take port 0 should.
pub(crate) fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Several ports that were free a moment ago.
///
/// They lie below those that the system hands out for port 0 and for outgoing connections, because one of those may
/// be handed out again before the server listens. Processes begin at different places, and none takes a port twice.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let mut held = Vec::with_capacity(N);
    while held.len() < N {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(16).wrapping_add(taken) % 22_000;
        // Held until all are found, so that they differ.
        held.extend(TcpListener::bind(("127.0.0.1", 10_000 + place as u16)));
    }
    let ports: Vec<u16> =
        held.iter().map(|listener: &TcpListener| listener.local_addr().unwrap().port()).collect();
    ports.try_into().unwrap()
}
