//! Prints how many bytes a flag of a loaded namespace of 10,000 takes.
//!
//! A program of its own, because it counts every allocation of its process.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use leverframe::Namespace;
use leverframe_benches::load;

/// The system's allocator, counting the bytes that are asked for and not yet given back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    const FLAGS: usize = 10_000;
    let files = load::files(FLAGS);
    // Whatever a process allocates once, for its first namespace, is not part of the second.
    drop(Namespace::from_files("generated", load::files(1)).expect("generated namespaces lint clean"));

    let before = LIVE.load(Ordering::Relaxed);
    let namespace = Namespace::from_files("generated", &files).expect("generated namespaces lint clean");
    let after = LIVE.load(Ordering::Relaxed);

    println!("{:.1}", (after - before) as f64 / FLAGS as f64);
    drop(namespace);
}
