//! A folder that only this process can enter, and that goes away with its handle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, durable};

/// A private folder; removed with everything in it on drop.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder inside `parent`, or inside the system's folder for temporary files where that is empty.
    pub(super) fn new(parent: &Path) -> Result<Self> {
        let parent = if parent.as_os_str().is_empty() { std::env::temp_dir() } else { parent.to_owned() };
        durable::make_temporary(&parent, "leverframe-git").map(|path| Self { path }).map_err(|error| {
            Error::from_io("make a folder for what is fetched", error)
                .with("in", parent.display())
                .hint("set `source.git.work_dir` to a folder that exists and can be written to")
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_its_owner_enters_it_and_it_goes_with_its_handle() {
        let parent = tempfile::tempdir().unwrap();

        let scratch = Scratch::new(parent.path()).unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("x"), "").unwrap();

        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o777, 0o700);
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_parent_that_is_not_there_is_said_to_be() {
        let error = Scratch::new(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().unwrap().contains("work_dir"));
    }
}
