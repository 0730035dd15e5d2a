//! Settings as files of a folder that lives as long as the command.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use leverframe_server::settings::model::is_key;

use crate::{
    commands::settings::{Content, Variable},
    failure::{Failure, exit},
};

/// The file that marks a folder, locked for as long as its process lives. No setting has the name.
const OWNER: &str = ".leverframe-run";
/// What is written before it takes the place of what is there.
const NEXT: &str = ".next";

/// A folder of files; dropped, it is removed.
pub(super) struct Folder {
    path: PathBuf,
    /// The system lets go of it, however the process ends.
    _owner: File,
}

impl Folder {
    /// Makes a folder that only its user may enter. One that is there gives way if it is empty, or if a process left it
    /// behind that was killed; any other is left alone.
    pub(super) fn make(dir: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(dir).map_err(|error| failed("make", dir, &error))?;
        clear(&path)?;
        make_private(&path).map_err(|error| {
            failed("make", &path, &error)
                .with_hint("the folder above it must be there, and be yours to write to")
        })?;
        let mut owner = create_private(&path.join(OWNER)).map_err(|error| failed("make", &path, &error))?;
        let folder = match owner.try_lock() {
            Ok(()) => Self { path, _owner: owner.try_clone().map_err(Failure::from)? },
            // Where there are no locks, what is left behind stays.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Self { path, _owner: owner.try_clone().map_err(Failure::from)? }
            }
            Err(_) => return Err(in_use(&path)),
        };
        // For people.
        writeln!(owner, "pid {}", std::process::id())?;
        Ok(folder)
    }

    /// Returns where the file of a setting is.
    pub(super) fn file(&self, key: &str) -> Result<PathBuf, Failure> {
        if is_key(key) {
            return Ok(self.path.join(key));
        }
        Err(Failure::new(exit::BAD, format!("`{}` can be no name of a file", key.escape_debug()))
            .with_hint("leave it out with `--only`, or go without `--files`"))
    }

    /// Writes the files beside those that are there, which stay as they are.
    pub(super) fn prepare(&self, chosen: &[Variable]) -> Result<(), Failure> {
        let next = self.path.join(NEXT);
        let refuse = |error: io::Error| failed("write", &next, &error);
        match fs::remove_dir_all(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse(error)),
            _ => {}
        }
        make_private(&next).map_err(refuse)?;
        for variable in chosen {
            self.file(&variable.key)?;
            let path = next.join(&variable.key);
            let mut file = create_private(&path).map_err(|error| failed("write", &path, &error))?;
            let written = match &variable.content {
                Content::Text(text) => file.write_all(text.expose().as_bytes()),
                Content::File(secret) => file.write_all(&secret.content()?),
            };
            written.map_err(|error| failed("write", &path, &error))?;
        }
        Ok(())
    }

    /// Puts what was prepared in the place of what is there.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        let refuse = |error: io::Error| failed("write", &self.path, &error);
        let next = self.path.join(NEXT);
        for item in fs::read_dir(&self.path).map_err(refuse)? {
            let item = item.map_err(refuse)?;
            let name = item.file_name();
            if name != OWNER && name != NEXT && !next.join(&name).exists() {
                fs::remove_file(item.path()).map_err(refuse)?;
            }
        }
        for item in fs::read_dir(&next).map_err(refuse)? {
            let item = item.map_err(refuse)?;
            fs::rename(item.path(), self.path.join(item.file_name())).map_err(refuse)?;
        }
        fs::remove_dir(&next).map_err(refuse)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever is left is removed at the next start with this folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes a folder that holds nothing of anybody's.
fn clear(path: &Path) -> Result<(), Failure> {
    let refuse = |error: io::Error| failed("make", path, &error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(error)),
        Ok(found) if !found.is_dir() => return Err(taken(path)),
        Ok(_) => {}
    }
    if fs::read_dir(path).map_err(refuse)?.next().is_none() {
        return fs::remove_dir(path).map_err(refuse);
    }
    let owner = match File::open(path.join(OWNER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(taken(path)),
        owner => owner.map_err(refuse)?,
    };
    match owner.try_lock() {
        Ok(()) => fs::remove_dir_all(path).map_err(refuse),
        Err(_) => Err(in_use(path)),
    }
}

fn taken(path: &Path) -> Failure {
    Failure::usage(format!("`{}` holds what is not of `leverframe run`", path.display()))
        .with_hint("name a folder that does not exist; it is made, and removed at the end")
}

fn in_use(path: &Path) -> Failure {
    Failure::usage(format!("another `leverframe run` uses `{}`", path.display()))
        .with_hint("name another folder; each run has one of its own")
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit::IO, format!("failed to {what} `{}`: {error}", path.display()))
}

fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use leverframe::Secret;

    use super::*;
    use crate::args::SettingKind;

    fn text(key: &str, value: &str) -> Variable {
        Variable {
            name: key.to_uppercase(),
            kind: SettingKind::Config,
            key: key.to_owned(),
            content: Content::Text(Secret::new(value)),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let listed = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            listed.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_take_each_others_place_at_once_and_go_with_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        let folder = Folder::make(&path).unwrap();
        folder.prepare(&[text("a", "1"), text("b", "2")]).unwrap();
        folder.commit().unwrap();

        folder.prepare(&[text("b", "3"), text("c", "4")]).unwrap();
        let before = fs::read_to_string(path.join("b")).unwrap();
        folder.commit().unwrap();

        assert_eq!(before, "2");
        assert_eq!(names(&path), [".leverframe-run", "b", "c"]);
        assert_eq!(fs::read_to_string(path.join("b")).unwrap(), "3");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_somebody_elses_is_left_alone_and_what_was_left_behind_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        let refused = || Folder::make(&path).err().map(|failure| failure.code());
        fs::write(&path, "mine").unwrap();
        assert_eq!(refused(), Some(exit::USAGE));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("mine"), "").unwrap();
        assert_eq!(refused(), Some(exit::USAGE));
        fs::remove_file(path.join("mine")).unwrap();

        let folder = Folder::make(&path).unwrap();
        assert_eq!(refused(), Some(exit::USAGE), "in use");
        drop(folder);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(OWNER), "pid 1\n").unwrap();
        fs::write(path.join("old"), "s3cret").unwrap();
        let folder = Folder::make(&path).unwrap();

        assert_eq!(names(&path), [OWNER]);
        for bad in ["", "..", "a/b", ".next", "/etc/passwd"] {
            assert!(folder.file(bad).is_err() && folder.prepare(&[text(bad, "1")]).is_err(), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_user_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("settings")).unwrap();
        folder.prepare(&[text("a", "1")]).unwrap();
        folder.commit().unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path), mode(&folder.file("a").unwrap())), (0o700, 0o600));
    }
}
