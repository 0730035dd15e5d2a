//! Files that only the server may read: the keys in its data directory, and keys that it is given.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use leverframe::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Longer files hold no key.
const LONGEST: u64 = 4_096;

/// Who else may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nobody looks.
    Unchecked,
    /// Nobody: a file that its group or others can read is refused.
    Refused,
}

/// Returns the content of a file; `None` if there is none. `what` says in errors what it is.
///
/// # Errors
/// `PermissionDenied` for one that others may read and must not, `LimitExceeded` for one of more than 4 KiB, and what
/// reading fails with.
pub(crate) fn read(path: &Path, what: &str, others: Others) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let operation = || format!("read {what}");
    let failed = |error| Error::from_io(operation(), error).with("file", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Of the file that is open, not of whatever has its name by now.
    if others == Others::Refused && is_open_to_others(&file.metadata().map_err(failed)?) {
        return Err(Error::new(ErrorKind::PermissionDenied, operation())
            .with("file", path.display())
            .with("reason", "its group or others can use it")
            .hint(format!("`chmod 600 {}`", path.display())));
    }
    // As large as can be at once: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::new(ErrorKind::LimitExceeded, operation())
            .with("file", path.display())
            .with("most bytes", LONGEST));
    }
    Ok(Some(bytes))
}

/// Returns the content of a file, made now if there is none. The file is whole at every moment, readable by its owner
/// only, and of several processes that start at once one makes it.
///
/// # Errors
/// As of [`read`]; what making it fails with.
pub(crate) fn read_or_make(
    path: &Path,
    what: &str,
    others: Others,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(bytes) = read(path, what, others)? {
        return Ok(bytes);
    }
    let failed = |error| Error::from_io(format!("write {what}"), error).with("file", path.display());
    let dir = leverframe::durable::parent(path);
    // Made in the same directory, mode 0600, so that it can be linked into place without a moment of being half written
    // or readable.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(&make()?).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        // Another process was first; what it made is it.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error.error)),
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    read(path, what, others)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(unix)]
fn is_open_to_others(file: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_file: &fs::Metadata) -> bool {
    false
}
