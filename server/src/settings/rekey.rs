//! Replacing the master key: every data key is sealed anew, no secret is.
//!
//! Where the data directory keeps the master key, its file names the new key beside the old one from before the first
//! data key is replaced until after the last one is. Whatever ends the process between, and at whatever point, the
//! next start opens everything; the same replacement asked for again, or another, carries on from there.

use leverframe::{Error, ErrorKind, Result};

use super::{Keyring, SettingsStore};
use crate::admin::Admin;

/// How often data keys that came to be meanwhile are looked for.
const ROUNDS: usize = 16;

impl Admin {
    /// Seals every data key by the first key of `new`; returns how many were not yet.
    ///
    /// If `old` is that of the data directory, the new key takes its place there. Servers that run learn of it by
    /// themselves if they can read the new key: those on the same data directory at once, others if their file holds
    /// it, beside the old one. No service may be created at the same time with a server that knows the old key only.
    ///
    /// # Errors
    /// As of [`Keyring::open_data_key`], where `old` is not what sealed them: then none is replaced; `Conflict` if
    /// somebody else replaces data keys at the same time; what the store and the file fail with.
    pub async fn rekey(&self, old: &Keyring, new: &Keyring) -> Result<usize> {
        let outcome = reseal(&*self.store, old, new).await;
        let detail = match &outcome {
            Ok(done) => format!("{done} data keys, now sealed by {}", new.id()),
            Err(error) => format!("failed: {}", error.kind()),
        };
        // A failure that is recorded or not is that failure.
        let recorded = self.record("settings.rekey", None, "settings", &detail).await;
        outcome.and_then(|done| recorded.map(|()| done))
    }
}

async fn reseal(store: &dyn SettingsStore, old: &Keyring, new: &Keyring) -> Result<usize> {
    // Before anything is changed: with the wrong key none is.
    for (service, sealed) in store.settings_data_keys().await? {
        if needs(&sealed, new) {
            old.reseal(&service, &sealed, new)?;
        }
    }
    old.put_first(new)?;
    let done = replace_all(store, old, new).await?;
    old.keep_first()?;
    Ok(done)
}

async fn replace_all(store: &dyn SettingsStore, old: &Keyring, new: &Keyring) -> Result<usize> {
    let mut done = 0;
    for _ in 0..ROUNDS {
        let mut swaps = Vec::new();
        for (service, sealed) in store.settings_data_keys().await? {
            if needs(&sealed, new) {
                let anew = old.reseal(&service, &sealed, new)?;
                swaps.push((service, sealed, anew));
            }
        }
        if swaps.is_empty() {
            return Ok(done);
        }
        // All or none: one that is another by now is looked at again.
        if store.replace_settings_data_keys(&swaps).await? {
            done += swaps.len();
        }
    }
    Err(Error::new(ErrorKind::Conflict, "replace the master key")
        .with("rounds", ROUNDS)
        .hint("another replacement is at work: wait for its end, then try again"))
}

fn needs(sealed: &[u8], new: &Keyring) -> bool {
    // Empty where a server without a master key made the service.
    !sealed.is_empty() && !new.has_sealed(sealed)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc, time::UNIX_EPOCH};

    use bytes::Bytes;
    use leverframe::{Secret, backends::clock_system::SystemClock, traits::Clock};

    use super::*;
    use crate::{
        model::{LoginMode, NamespaceRecord, PageRequest, Tenant},
        settings::{
            keyring::FILE,
            model::{Kind, Service, ServiceId},
        },
        store::{self, Store},
    };

    struct Stage {
        admin: Admin,
        store: Arc<dyn Store>,
        data: tempfile::TempDir,
    }

    /// A store in a directory of its own, with three services: two with a data key, one without.
    async fn stage() -> (Stage, Keyring) {
        let data = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(data.path(), None, Arc::clone(&clock)).await.unwrap();
        store.create_tenant(&Tenant::new("acme", LoginMode::EmailDomain, UNIX_EPOCH)).await.unwrap();
        store.create_namespace(&NamespaceRecord::new("acme", "web", UNIX_EPOCH)).await.unwrap();
        let keyring = Keyring::in_directory(data.path()).unwrap();
        for environment in ["one", "two", "bare"] {
            let id = service(environment);
            let data_key =
                if environment == "bare" { Bytes::new() } else { keyring.new_data_key(&id).unwrap() };
            let made = Service::new(id, Kind::Backend, data_key, UNIX_EPOCH);
            store.put_settings_service(&made).await.unwrap().unwrap();
        }
        let admin = Admin::new(Arc::clone(&store), clock);
        (Stage { admin, store, data }, keyring)
    }

    fn service(environment: &str) -> ServiceId {
        ServiceId::new("acme", "web", environment)
    }

    fn new_key(byte: u8) -> Keyring {
        Keyring::from_secret(&Secret::new(leverframe::encoding::hex(&[byte; 32]))).unwrap()
    }

    impl Stage {
        async fn opens_with(&self, keyring: &Keyring) -> bool {
            let keys = self.store.settings_data_keys().await.unwrap();
            let held: Vec<_> = keys.iter().filter(|(_, sealed)| !sealed.is_empty()).collect();
            assert_eq!((keys.len(), held.len()), (3, 2));
            held.iter().all(|(id, sealed)| keyring.open_data_key(id, sealed).is_ok())
        }

        fn at_next_start(&self) -> Keyring {
            Keyring::in_directory(self.data.path()).unwrap()
        }

        fn lines(&self) -> usize {
            fs::read_to_string(self.data.path().join(FILE)).unwrap().lines().count()
        }
    }

    #[tokio::test]
    async fn the_master_key_is_replaced_while_a_server_runs() {
        let (stage, running) = stage().await;
        let id = service("one");
        let data_key = || async { stage.store.settings_service(&id).await.unwrap().unwrap().data_key };
        let opened = running.open_data_key(&id, &data_key().await).unwrap();
        let sealed = opened.seal(&id, "K", 1, &Secret::new("hunter2")).unwrap();
        let before = fs::read(stage.data.path().join(FILE)).unwrap();

        let done = stage.admin.rekey(&stage.at_next_start(), &new_key(2)).await.unwrap();

        assert_eq!((done, stage.lines()), (2, 1));
        assert_ne!(fs::read(stage.data.path().join(FILE)).unwrap(), before);
        assert!(stage.opens_with(&new_key(2)).await && stage.opens_with(&stage.at_next_start()).await);
        let after = running.open_data_key(&id, &data_key().await).unwrap();
        assert_eq!(after.open(&id, "K", 1, &sealed).unwrap().expose(), "hunter2");
        assert!(stage.opens_with(&running).await);
        let old = Keyring::from_secret(&Secret::new(String::from_utf8(before).unwrap())).unwrap();
        assert!(!stage.opens_with(&old).await, "the old key still opens them");

        let log = stage.store.audit(None, &PageRequest::first(1)).await.unwrap();
        let event = log.items.first().unwrap();
        assert_eq!((&*event.action, event.detail.contains("2 data keys")), ("settings.rekey", true));
        assert_eq!(stage.admin.rekey(&running, &new_key(2)).await.unwrap(), 0, "done twice");
    }

    #[tokio::test]
    async fn a_replacement_that_broke_off_before_the_database_is_mended() {
        let (stage, running) = stage().await;
        stage.at_next_start().put_first(&new_key(2)).unwrap();

        assert_eq!(stage.lines(), 2);
        assert!(stage.opens_with(&stage.at_next_start()).await && stage.opens_with(&running).await);

        assert_eq!(stage.admin.rekey(&stage.at_next_start(), &new_key(2)).await.unwrap(), 2);
        assert!(stage.lines() == 1 && stage.opens_with(&new_key(2)).await);
    }

    #[tokio::test]
    async fn a_replacement_that_broke_off_after_the_database_is_mended() {
        let (stage, running) = stage().await;
        let old = stage.at_next_start();
        old.put_first(&new_key(2)).unwrap();
        replace_all(&*stage.store, &old, &new_key(2)).await.unwrap();

        assert_eq!(stage.lines(), 2);
        assert!(stage.opens_with(&stage.at_next_start()).await && stage.opens_with(&running).await);
        // What a server makes in this state is lost neither.
        let made = running.new_data_key(&service("one")).unwrap();
        assert!(new_key(2).open_data_key(&service("one"), &made).is_ok());

        // Carried on with another key than the one that it broke off with.
        assert_eq!(stage.admin.rekey(&stage.at_next_start(), &new_key(3)).await.unwrap(), 2);
        assert!(stage.lines() == 1 && stage.opens_with(&new_key(3)).await);
    }

    #[tokio::test]
    async fn the_wrong_old_key_changes_nothing() {
        let (stage, running) = stage().await;
        let before = stage.store.settings_data_keys().await.unwrap();

        let error = stage.admin.rekey(&new_key(8), &new_key(9)).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(stage.store.settings_data_keys().await.unwrap(), before);
        assert!(stage.lines() == 1 && stage.opens_with(&running).await);
    }

    #[tokio::test]
    async fn a_file_that_somebody_else_cares_for_is_left_alone() {
        let (stage, _) = stage().await;
        let path = stage.data.path().join("theirs");
        fs::copy(stage.data.path().join(FILE), &path).unwrap();
        let content = |path: &Path| fs::read(path).unwrap();
        let before = content(&path);

        let old = Keyring::from_file(&path).unwrap();
        assert_eq!(stage.admin.rekey(&old, &new_key(2)).await.unwrap(), 2);

        assert_eq!(content(&path), before);
        assert!(stage.opens_with(&new_key(2)).await && !stage.opens_with(&old).await);
    }
}
