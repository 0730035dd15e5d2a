//! Settings of the `file` source.

use std::path::{Path, PathBuf};

use super::read::ReadLimits;
use crate::{Error, ErrorKind, Result, encoding::percent_decoded, secret::without_credentials, settings};

settings! {
    /// Where the files are, and how they are read.
    ///
    /// # Examples
    /// ```
    /// use leverframe::sources::file::FileConfig;
    /// let config = FileConfig::of_uri("file:///etc/my%20app/flags")?;
    /// assert_eq!(config.path, std::path::Path::new("/etc/my app/flags"));
    /// # Ok::<(), leverframe::Error>(())
    /// ```
    pub struct FileConfig {
        /// The directory or file.
        pub path: PathBuf = Path, PathBuf::new();
        /// How often the files' metadata is looked at, in milliseconds, besides what the operating system tells.
        pub check_interval_ms: u64 = Integer, 1_000;
        /// The folders of a directory that are read besides its own files.
        pub folders: Vec<String> = List, ["flags", "segments"].map(str::to_owned).into();
        /// The largest single file that is read, in bytes, where the path names a file.
        pub max_file_bytes: u64 = Integer, 5_000_000;
    }
}

impl FileConfig {
    /// Reads from `path`, everything else at its default.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), ..Self::default() }
    }

    /// Reads from the path of a `file://` URI, everything else at its default.
    ///
    /// # Errors
    /// `Invalid` where the URI names another host, is not absolute, or is wrongly escaped.
    pub fn of_uri(uri: &str) -> Result<Self> {
        let refuse = |reason: &str| {
            Error::new(ErrorKind::Invalid, "read the file URI")
                .with("uri", without_credentials(uri))
                .with("reason", reason)
                .hint("write it as `file:///absolute/path`, with spaces as `%20`")
        };
        let rest = uri.strip_prefix("file://").ok_or_else(|| refuse("it does not begin with `file://`"))?;
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(refuse("it names another host, or its path is not absolute"));
        }
        if path.contains(['?', '#']) {
            return Err(refuse("it has a query or a fragment"));
        }
        Ok(Self::at(percent_decoded(path).ok_or_else(|| refuse("it is wrongly escaped"))?))
    }

    pub(super) fn limits(&self) -> ReadLimits {
        ReadLimits { folders: self.folders.clone(), ..ReadLimits::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_neither_user_info_nor_query() {
        let error = FileConfig::of_uri("file://ann:hunter2@host/a?token=hunter2#hunter2").unwrap_err();

        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(error.to_string().contains("file://***@host/a?…"), "{error}");
    }

    #[test]
    fn file_uris_give_their_path_and_others_are_refused() {
        assert_eq!(FileConfig::of_uri("file://localhost/a/b").unwrap().path, Path::new("/a/b"));
        for bad in [
            "file://host/a",
            "file://a/b",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%00",
            "file:///a\0",
            "file:///a#main",
            "/a",
        ] {
            assert_eq!(FileConfig::of_uri(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
