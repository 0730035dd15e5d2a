//! Backups: whole, private, and the same for both engines.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leverframe::ErrorKind;
use leverframe_server::{
    model::{AuditEvent, NamespaceRecord, PageRequest, Tenant, TokenRecord, TokenType, VersionRecord},
    store::{Notice, Store, TokenQuery},
};

use crate::{
    conformance::{WITHOUT_GATE, on_every_engine},
    place::{Place, accepted, at, heard, namespace, tenant, version, with_namespace},
};

on_every_engine!(
    a_backup_restores_into_the_other_engine_and_back,
    a_backup_is_private_and_overwrites_nothing,
    a_backup_taken_during_writes_is_of_one_moment,
    a_store_that_holds_anything_takes_no_backup_over,
    what_is_no_whole_backup_is_refused_and_nothing_is_restored,
    a_backup_of_an_older_program_is_brought_up_to_date_and_one_of_a_newer_is_refused,
    a_restored_store_tells_that_everything_changed,
);

/// Everything that a store gives out.
#[derive(Debug, PartialEq)]
struct Everything {
    tenants: Vec<Tenant>,
    namespaces: Vec<NamespaceRecord>,
    versions: Vec<Vec<VersionRecord>>,
    archives: usize,
    tokens: Vec<TokenRecord>,
    audit: Vec<AuditEvent>,
}

impl Everything {
    async fn of(store: &dyn Store) -> Self {
        let page = PageRequest::first(500);
        let namespaces = store.namespaces(None, &page).await.unwrap().items;
        let mut versions = Vec::new();
        let mut archives = 0;
        for namespace in &namespaces {
            let listed = store.versions(&namespace.tenant, &namespace.slug, &page).await.unwrap().items;
            for record in &listed {
                let archive = store.archive(&record.sha256).await.unwrap().unwrap();
                archives += archive.len();
            }
            versions.push(listed);
        }
        let mut audit = Vec::new();
        let mut part = store.audit(None, &page).await.unwrap();
        loop {
            audit.append(&mut part.items);
            let Some(next) = part.next else { break };
            part = store.audit(None, &PageRequest::after(500, next)).await.unwrap();
        }
        Self {
            tenants: store.tenants(&page).await.unwrap().items,
            tokens: store.tokens(&TokenQuery::default(), &page).await.unwrap().items,
            namespaces,
            versions,
            archives,
            audit,
        }
    }
}

/// More of everything than is carried at once.
async fn fill(place: &Place, store: &dyn Store) {
    for owner in ["acme", "other"] {
        store.create_tenant(&tenant(owner)).await.unwrap();
        for slug in ["payments", "shop"] {
            store.create_namespace(&namespace(owner, slug)).await.unwrap();
            for content in ["a", "b", slug] {
                accepted(store.put_version(owner, slug, &version(content, None), at(2)).await.unwrap());
            }
        }
    }
    let mut token = TokenRecord::new("tok_1", TokenType::NamespaceRead, at(0));
    token.tenant = Some("acme".to_owned());
    token.namespace = Some("shop".to_owned());
    store.create_token(&token, &[1; 32]).await.unwrap();
    store.create_token(&TokenRecord::new("tok_2", TokenType::Superadmin, at(0)), &[2; 32]).await.unwrap();
    store.revoke_token("tok_1", at(3)).await.unwrap();
    place
        .tamper(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1203)
             INSERT INTO audit (nonce, at, request_id, principal, action, tenant, target, outcome, detail)
             SELECT 'n' || CAST(i AS TEXT), i, '', '', 'action ' || CAST(i AS TEXT), NULL, '', 'ok', '' FROM n ORDER BY i",
        )
        .await;
}

fn backup_of(place: &Place) -> PathBuf {
    place.dir.path().join("backup.db")
}

async fn a_backup_restores_into_the_other_engine_and_back(place: Place) {
    let store = place.open().await;
    fill(&place, &*store).await;
    let before = Everything::of(&*store).await;

    store.backup(&backup_of(&place)).await.unwrap();
    let between = place.another().await;
    let other = between.open().await;
    other.restore(&backup_of(&place)).await.unwrap();
    other.backup(&backup_of(&between)).await.unwrap();
    let end = between.another().await;
    let back = end.open().await;
    back.restore(&backup_of(&between)).await.unwrap();

    assert_eq!(before.audit.len(), 1203);
    for restored in [&other, &back] {
        assert_eq!(Everything::of(&**restored).await, before);
        assert_eq!(restored.token_by_secret(&[1; 32]).await.unwrap().unwrap().revoked_at, Some(at(3)));
        // And it goes on from there.
        let next = restored.put_version("acme", "shop", &version("next", Some(3)), at(9)).await.unwrap();
        assert_eq!(accepted(next).version, 4);
        restored.record(&AuditEvent::new(at(9), "the newest", "")).await.unwrap();
        assert_eq!(restored.audit(None, &PageRequest::first(1)).await.unwrap().items[0].action, "the newest");
    }
}

async fn a_backup_is_private_and_overwrites_nothing(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let path = backup_of(&place);

    store.backup(&path).await.unwrap();
    let first = fs::read(&path).unwrap();
    let again = store.backup(&path).await.unwrap_err();
    let nowhere = store.backup(&place.dir.path().join("no/such/folder")).await.unwrap_err();

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((again.kind(), again.hint_text().is_some()), (ErrorKind::Conflict, true));
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read(&path).unwrap(), first);
    let mut left: Vec<_> =
        fs::read_dir(place.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.retain(|name| name != "data");
    assert_eq!(left, ["backup.db"]);
}

async fn a_backup_taken_during_writes_is_of_one_moment(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    accepted(store.put_version("acme", "payments", &version("first", None), at(2)).await.unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let new = version(&format!("content {number}"), None);
                accepted(store.put_version("acme", "payments", &new, at(2)).await.unwrap());
            }
            number
        }
    });

    for round in 0..5 {
        let path = place.dir.path().join(format!("backup {round}"));
        store.backup(&path).await.unwrap();

        // Restored where it costs little; that it does so anywhere is another test.
        let copy = Place::on_sqlite().await;
        let restored = copy.open().await;
        restored.restore(&path).await.unwrap();
        let head = restored.namespace("acme", "payments").await.unwrap().unwrap().version;
        let listed = restored.versions("acme", "payments", &PageRequest::first(1)).await.unwrap().items;
        assert_eq!(listed[0].version, head);
        assert_eq!(restored.version("acme", "payments", None).await.unwrap().as_ref(), listed.first());
        assert!(restored.archive(&listed[0].sha256).await.unwrap().is_some());
    }

    done.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
}

async fn a_store_that_holds_anything_takes_no_backup_over(place: Place) {
    let store = place.open().await;
    fill(&place, &*store).await;
    store.backup(&backup_of(&place)).await.unwrap();

    let one_token = place.another().await;
    let other = one_token.open().await;
    other.create_token(&TokenRecord::new("tok_9", TokenType::Superadmin, at(0)), &[9; 32]).await.unwrap();
    let refused = other.restore(&backup_of(&place)).await.unwrap_err();
    let itself = store.restore(&backup_of(&place)).await.unwrap_err();

    assert_eq!([refused.kind(), itself.kind()], [ErrorKind::Conflict; 2]);
    assert!(refused.to_string().contains("not empty"), "{refused}");
    assert_eq!(other.tenants(&PageRequest::default()).await.unwrap().items, []);
    assert_eq!(other.tokens(&TokenQuery::default(), &PageRequest::default()).await.unwrap().items.len(), 1);
}

async fn what_is_no_whole_backup_is_refused_and_nothing_is_restored(place: Place) {
    let source = place.another().await;
    let filled = source.open().await;
    fill(&source, &*filled).await;
    filled.backup(&backup_of(&source)).await.unwrap();
    let whole = fs::read(backup_of(&source)).unwrap();
    let store = place.open().await;
    let path = backup_of(&place);
    let refuse = async |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let refused = store.restore(&path).await.unwrap_err();
        assert_eq!(store.tenants(&PageRequest::default()).await.unwrap().items, []);
        assert_eq!(fs::read(&path).unwrap(), content, "the file was changed");
        refused.kind()
    };

    assert_eq!(refuse(b"").await, ErrorKind::Corrupt);
    assert_eq!(refuse(b"not a backup").await, ErrorKind::Corrupt);
    for part in 1..8 {
        assert_eq!(refuse(&whole[..whole.len() / 8 * part]).await, ErrorKind::Corrupt, "{part} eighths");
    }
    for page in (1..whole.len() / 4096).step_by(3) {
        let mut damaged = whole.clone();
        damaged[page * 4096..][..4096].fill(0x5a);
        assert_eq!(refuse(&damaged).await, ErrorKind::Corrupt, "page {page}");
    }
    let (changed, error) = tampered(&whole, "UPDATE archives SET content = x'00'");
    assert_eq!(error, None);
    assert_eq!(refuse(&changed).await, ErrorKind::Corrupt);
    let (changed, _) = tampered(&whole, "PRAGMA foreign_keys = OFF; DELETE FROM tenants WHERE slug = 'acme'");
    assert_eq!(refuse(&changed).await, ErrorKind::Corrupt);

    let missing = store.restore(Path::new("/no/such/backup")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // A server's own file is none either.
    let own = Place::on_sqlite().await;
    own.open().await.close().await;
    let refused = store.restore(&own.data().join("leverframe.db")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.hint_text().is_some()), (ErrorKind::Corrupt, true));
}

async fn a_backup_of_an_older_program_is_brought_up_to_date_and_one_of_a_newer_is_refused(place: Place) {
    let source = place.another().await;
    let filled = source.open().await;
    fill(&source, &*filled).await;
    filled.backup(&backup_of(&source)).await.unwrap();
    let whole = fs::read(backup_of(&source)).unwrap();
    let step =
        "DROP TABLE changes; DROP TABLE change_counter; DELETE FROM schema_migrations WHERE number = 2";
    let (older, error) = tampered(&whole, &format!("{WITHOUT_GATE}; {step}"));
    assert_eq!(error, None);
    let (newer, _) =
        tampered(&whole, "INSERT INTO schema_migrations (number, name, checksum) VALUES (900, 'later', 'x')");
    let store = place.open().await;
    let path = backup_of(&place);

    fs::write(&path, &newer).unwrap();
    let refused = store.restore(&path).await.unwrap_err();
    fs::write(&path, &older).unwrap();
    store.restore(&path).await.unwrap();

    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(Everything::of(&*store).await, Everything::of(&*filled).await);
    assert_eq!(fs::read(&path).unwrap(), older, "the backup stays what it is");
}

async fn a_restored_store_tells_that_everything_changed(place: Place) {
    let source = place.another().await;
    let filled = source.open().await;
    fill(&source, &*filled).await;
    filled.backup(&backup_of(&source)).await.unwrap();
    let store = place.open().await;
    let mut notices = store.notices();

    store.restore(&backup_of(&source)).await.unwrap();

    assert_eq!(heard(&mut notices).await, Notice::Everything);
}

/// Returns a backup after statements were run in it.
fn tampered(whole: &[u8], script: &str) -> (Vec<u8>, Option<rusqlite::Error>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    fs::write(&path, whole).unwrap();
    let handle = rusqlite::Connection::open(&path).unwrap();
    let error = handle.execute_batch(script).err();
    drop(handle);
    (fs::read(&path).unwrap(), error)
}
