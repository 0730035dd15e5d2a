//! A folder for one run of the program, for its owner only and gone afterwards.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use crate::durable;

/// A folder below the system's one for temporary files; removed on drop.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(super) fn make() -> io::Result<Self> {
        Ok(Self { dir: durable::make_temporary(&std::env::temp_dir(), "leverframe")? })
    }

    /// Writes a file that only the owner may read.
    pub(super) fn put(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        durable::create_private(&path)?.write_all(content)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "a temporary folder stays");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    #[test]
    fn folder_and_files_are_for_the_owner_only_and_go() {
        let scratch = Scratch::make().unwrap();
        let file = scratch.put("body", b"secret").unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&scratch.dir), mode(&file)), (0o700, 0o600));
        drop(scratch);
        assert!(!file.exists());
    }
}
