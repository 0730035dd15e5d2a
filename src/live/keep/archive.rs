//! The newest document as a plain file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::Kept;
use crate::{Error, Result, document::SIGNATURE_EXTENSION, durable};

/// More than any document has.
const LIMIT: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct ArchiveFile {
    path: PathBuf,
    name: Option<String>,
}

impl ArchiveFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, name: None }
    }

    pub(super) fn set_name(&mut self, name: String) {
        self.name = Some(name);
    }

    pub(super) fn read(&self) -> Option<Kept> {
        let (content, kept_at) = match read(&self.path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the kept manifest cannot be read");
                return None;
            }
        };
        let signature = read(&self.signature_path()).ok().map(|(signature, _)| signature);
        Some(Kept { content, name: self.name.clone(), signature, revision: None, mark: 0, kept_at })
    }

    pub(super) fn write(&self, kept: &Kept) -> Result<()> {
        let path = &self.path;
        let failed = |error| {
            Error::from_io("keep the manifest", error)
                .with("path", path.display())
                .hint("check the directory's permissions and free space; what is served is not affected")
        };
        durable::make_private(durable::parent(path)).map_err(failed)?;
        durable::clear_leftovers(durable::parent(path));
        // The signature goes first: with the old content it fails the check, and the source is asked.
        if let Some(signature) = &kept.signature {
            durable::replace(&self.signature_path(), signature).map_err(failed)?;
        }
        durable::replace(path, &kept.content).map_err(failed)
    }

    fn signature_path(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(SIGNATURE_EXTENSION);
        path.into()
    }
}

fn read(path: &Path) -> io::Result<(Bytes, std::time::SystemTime)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT {
        return Err(io::Error::other("it is too large"));
    }
    Ok((content.into(), metadata.modified()?))
}
