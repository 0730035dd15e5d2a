//! The system's allocator, counting what a whole process asks for, whichever of its threads does.
//!
//! For tests and benchmarks only. A program counts when it makes [`Counting`] its allocator:
//!
//! ```
//! use leverframe_counting::{Counting, Count, LARGE};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let before = Count::now();
//! drop(std::hint::black_box(vec![0_u8; LARGE + 1]));
//! assert_eq!(Count::now().since(before).large, 1);
//! ```

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

/// Allocations of more bytes than this are large.
pub const LARGE: usize = 4096;

/// Passes every call on to the system's allocator, and counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// How much was allocated since the process began. What grows in place or moves counts as allocated anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All allocations.
    pub all: u64,
    /// Those of more than [`LARGE`] bytes.
    pub large: u64,
}

impl Count {
    /// Reads the counters; zero in a program with another allocator.
    #[must_use]
    pub fn now() -> Self {
        Self { all: ALL.load(Ordering::SeqCst), large: MANY.load(Ordering::SeqCst) }
    }

    /// Returns what was allocated after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { all: self.all - earlier.all, large: self.large - earlier.large }
    }
}

static ALL: AtomicU64 = AtomicU64::new(0);
static MANY: AtomicU64 = AtomicU64::new(0);

/// Returns how many bytes are allocated and not freed; zero in a program with another allocator.
///
/// ```
/// use leverframe_counting::{Counting, live};
///
/// #[global_allocator]
/// static ALLOCATOR: Counting = Counting;
///
/// let before = live();
/// let held = std::hint::black_box(vec![0_u8; 1000]);
/// assert_eq!(live() - before, 1000);
/// drop(held);
/// assert_eq!(live(), before);
/// ```
#[must_use]
pub fn live() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

static LIVE: AtomicI64 = AtomicI64::new(0);

fn grow(bytes: usize) {
    LIVE.fetch_add(bytes as i64, Ordering::SeqCst);
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(bytes as i64, Ordering::SeqCst);
}

fn count(bytes: usize) {
    ALL.fetch_add(1, Ordering::SeqCst);
    if bytes > LARGE {
        MANY.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call is passed on unchanged to an allocator that keeps the contract; counting allocates nothing and
// does not panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        grow(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        grow(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        grow(bytes);
        shrink(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
