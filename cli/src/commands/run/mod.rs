//! `leverframe run`: a command with settings as variables or files.

mod child;
mod folder;
mod plan;

use std::{sync::Arc, time::Duration};

use leverframe::{
    NexusClient,
    backends::{
        cache_file::{FileCache, FileCacheConfig},
        clock_system::SystemClock,
    },
    live::Origin,
};
use tokio::sync::mpsc;

use self::{
    child::{Child, Passed},
    folder::Folder,
    plan::Plan,
};
use super::{secret_file, settings::reach};
use crate::{
    args::RunArgs,
    failure::Failure,
    output::{DIM, Out, YELLOW, styled},
};

/// Nothing is asked again where nothing is to follow: what the command has is of one moment.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<u8, Failure> {
    let client = start(args)?;
    let status = client.status();
    if status.origin == Origin::Kept {
        let since = format!("{} s ago", status.staleness.as_secs());
        out.note(format!(
            "{}: started with what the settings service said {since}: {}",
            styled(YELLOW, "offline"),
            status.last_error.as_deref().unwrap_or("it cannot be had")
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(supervise(args, &client, out));
    // Only now: the files of secrets go with the client.
    client.close();
    code
}

fn start(args: &RunArgs) -> Result<NexusClient, Failure> {
    let (_, mut builder) = reach(&args.at)?;
    if !args.watch {
        builder = builder.ttl(NEVER);
    }
    if let (Some(dir), Some(key)) = (&args.cache, &args.cache_key_file) {
        let mut config = FileCacheConfig::default();
        config.dir.clone_from(dir);
        builder =
            builder.cache(Arc::new(FileCache::open(config)?), secret_file("read the key of the cache", key)?);
    }
    Ok(builder.stream(args.watch).build()?)
}

/// Starts the command, and starts it again for changes, until it ends by itself or is told to.
async fn supervise(args: &RunArgs, client: &NexusClient, out: &mut Out) -> Result<u8, Failure> {
    // Before anything is made that has to be removed: from here on no signal ends this process.
    let mut passed = Passed::new()?;
    let (tell, mut told) = mpsc::channel(1);
    let _watching = args.watch.then(|| {
        client.on_change(move |_| {
            // One that waits to be heard says as much as two.
            let _ = tell.try_send(());
        })
    });
    let clock = SystemClock::new();
    let folder = args.files.as_deref().map(Folder::make).transpose()?;
    let mut plan = Plan::make(args, client, folder.as_ref())?;
    if out.notes_are_seen() && !plan.kept.is_empty() {
        let kept = plan.kept.join(", ");
        out.note(styled(DIM, format!("kept as they are: {kept}; `--override` replaces them")));
    }
    if let Some(folder) = &folder {
        folder.prepare(&plan.chosen)?;
        folder.commit()?;
    }
    let mut child = Child::start(args, &plan)?;
    loop {
        tokio::select! {
            code = child.ended() => return Ok(code?),
            signal = passed.next() => child.pass(signal, &clock, args.kill_after),
            Some(()) = told.recv() => {
                let wait = args.restart_delay;
                if let Some(code) = child.ended_within(wait, &clock, args.kill_after, &mut passed).await? {
                    return Ok(code);
                }
                // What came meanwhile is in the snapshot that is looked at now.
                while told.try_recv().is_ok() {}
                let next = Plan::make(args, client, folder.as_ref()).and_then(|next| {
                    let changed = !next.is_same(&plan);
                    // While the command runs, so that a full disk does not end it.
                    if let Some(folder) = folder.as_ref().filter(|_| changed) {
                        folder.prepare(&next.chosen)?;
                    }
                    Ok(changed.then_some(next))
                });
                match next {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        if let Some(code) = child.stop(&clock, args.kill_after, &mut passed).await? {
                            return Ok(code);
                        }
                        if let Some(folder) = &folder {
                            folder.commit()?;
                        }
                        plan = next;
                        child = Child::start(args, &plan)?;
                    }
                    Err(failure) => {
                        out.failure(&failure);
                        out.note("the command goes on with the settings that it has");
                    }
                }
            }
        }
    }
}
