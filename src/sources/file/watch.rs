//! Notification by the operating system, for as long as somebody waits for it.

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{
    FileConfig,
    read::{CONFIG_MAP_LINK, resolve_root},
};

/// Watches until the future is dropped, and is ready after the first event. Where watching is not possible, it never
/// is: the periodic look at the metadata goes on beside it.
pub(super) fn events(config: &FileConfig) -> impl Future<Output = ()> + Send + use<> {
    let state = Arc::new(Mutex::new((false, None::<Waker>)));
    let watcher = watch(config, Arc::clone(&state));
    poll_fn(move |cx| {
        // Moved in, so that the watches live exactly as long as this future.
        let _alive = &watcher;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    })
}

type Told = Arc<Mutex<(bool, Option<Waker>)>>;

fn watch(config: &FileConfig, told: Told) -> Option<RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        // Reading is no news, and looking at the metadata must not wake the look at the metadata.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        let waker = {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.0 = true;
            told.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    let mut watcher = notify::recommended_watcher(handler)
        .inspect_err(|error| tracing::debug!(%error, "no notification of file changes, looking at intervals"))
        .ok()?;
    for place in places(config) {
        // A place that is not there cannot be watched; its parent tells when it appears.
        let _ = watcher.watch(&place, RecursiveMode::NonRecursive);
    }
    Some(watcher)
}

/// Directories whose entries matter: that of the path itself, for a replaced file or link; the root; its folders;
/// what `..data` points to.
fn places(config: &FileConfig) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = config.path.parent().map(PathBuf::from).into_iter().collect();
    if let Ok(resolved) = resolve_root(&config.path) {
        places.extend(resolved.parent().map(PathBuf::from));
        places.extend(config.folders.iter().map(|folder| resolved.join(folder)));
        places.push(resolved);
    }
    if config.path.join(CONFIG_MAP_LINK).exists() {
        places.push(config.path.clone());
    }
    places.retain(|place| place.is_dir());
    places.sort();
    places.dedup();
    places
}
