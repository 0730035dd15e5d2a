//! Starts: from the start of the process to the answer that it is ready, with a thousand namespaces stored.

use std::{path::Path, sync::Arc, time::Instant};

use leverframe::{backends::clock_system::SystemClock, manifest::Fingerprint, traits::Clock};
use leverframe_server::{
    admin::Admin,
    model::{LoginMode, NamespaceRecord, NewVersion, Tenant},
    store,
};

use crate::{
    child::Child,
    load::once,
    options::Options,
    report::{Report, Row, median},
    stage::{Stage, files, request},
};

const NAMESPACES: usize = 1_000;
const NAME: &str = "start: ready with 1,000 namespaces";

pub(crate) fn measure(stage: &Stage, options: &Options, report: &mut Report) {
    if !options.wants(NAME) {
        return;
    }
    eprintln!("measuring {NAME}");
    let data = tempfile::tempdir().expect("a folder");
    stage.runtime.block_on(furnish(data.path()));
    let times: Vec<f64> = (0..options.rounds())
        .map(|_| {
            let started = Instant::now();
            let server = Child::start(data.path(), None);
            let ready = request(server.address, "", ("GET", "/readyz"), "text/plain", b"");
            stage.runtime.block_on(once(&ready));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    report.push(Row::limited(&format!("{NAME}, p50"), "ms", median(times.iter().copied()), 1_000.0));
    report.push(Row::limited(
        &format!("{NAME}, longest"),
        "ms",
        times.into_iter().fold(0.0, f64::max),
        1_000.0,
    ));
}

/// Stores a thousand namespaces of a hundred flags each.
async fn furnish(data: &Path) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store::open(data, None, Arc::clone(&clock)).await.expect("a store");
    let admin = Admin::new(Arc::clone(&store), Arc::clone(&clock));
    let mut tenant = Tenant::new("acme", LoginMode::EmailDomain, clock.wall());
    tenant.email_domain = Some("acme.example".to_owned());
    admin.create_tenant(&tenant).await.expect("a tenant");
    for number in 0..NAMESPACES {
        let slug = format!("n{number}");
        admin.create_namespace(&NamespaceRecord::new("acme", &slug, clock.wall())).await.expect("a namespace");
        let mut tree = files();
        // Else all of them would be one archive.
        let own = format!("[namespace]\nslug = \"{slug}\"\n");
        tree.insert("namespace.toml", leverframe::document::Entry::File(own.into()));
        let archive = leverframe::manifest::archive::pack(&tree).expect("an archive");
        let version = NewVersion::new(archive.into(), Fingerprint::of(&tree).as_str());
        store.put_version("acme", &slug, &version, clock.wall()).await.expect("a version");
    }
    store.close().await;
}
