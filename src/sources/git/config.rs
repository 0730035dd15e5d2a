//! Settings of the `git` source.

use std::{path::PathBuf, time::Duration};

use crate::{Secret, settings, sources::file::ReadLimits};

settings! {
    /// How repositories are reached and how much is taken from them; which repository is said by the URI.
    ///
    /// There is no certificate setting here: `https` goes over the transport, whose own `ca_file` says whom to trust.
    ///
    /// # Examples
    /// ```
    /// use leverframe::sources::git::GitConfig;
    /// assert_eq!(GitConfig::default().max_fetch_bytes, 50_000_000);
    /// ```
    pub struct GitConfig {
        /// The private key of a deploy key, for `git+ssh`. Empty: the keys that the ssh agent holds.
        pub ssh_key_file: PathBuf = Path, PathBuf::new();
        /// What the private key is encrypted with. Empty: it is not.
        pub ssh_key_passphrase: Secret = Secret, Secret::new("");
        /// The host keys that are trusted, as OpenSSH keeps them. Empty: `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.
        pub known_hosts_file: PathBuf = Path, PathBuf::new();
        /// Where what is fetched is put while it is read. Empty: the system's folder for temporary files.
        pub work_dir: PathBuf = Path, PathBuf::new();
        /// How long a load may take in all, in milliseconds.
        pub timeout_ms: u64 = Integer, 30_000;
        /// How long connecting by `ssh` may take, in milliseconds; for `https` the transport's own setting counts.
        pub connect_timeout_ms: u64 = Integer, 5_000;
        /// How much one load may bring over the network, and how large one object may be when unpacked, in bytes.
        pub max_fetch_bytes: u64 = Integer, 50_000_000;
        /// The folders that are read besides the files beside them.
        pub folders: Vec<String> = List, ["flags", "segments"].map(str::to_owned).into();
    }
}

impl GitConfig {
    pub(super) fn limits(&self) -> ReadLimits {
        ReadLimits { folders: self.folders.clone(), ..ReadLimits::default() }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        // The standard library refuses to connect within no time at all.
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }
}
