//! The object that a URI names.

use leverframe::{Error, ErrorKind, Result};
use object_store::path::Path;

/// An object of a provider's bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) provider: Provider,
    /// The bucket, or the container as one provider says.
    pub(crate) bucket: String,
    pub(crate) path: Path,
}

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Azure,
    Google,
    S3,
}

impl Location {
    /// Reads a URI such as `s3://bucket/folder/manifest.tar.gz`.
    pub(crate) fn of(uri: &str) -> Result<Self> {
        // The URI is not shown until it is known to be free of user-info and query.
        let refuse = |reason: &'static str| {
            Error::new(ErrorKind::Config, "read the URI of an object").with("reason", reason).hint(
                "write it as `s3://bucket/path/manifest.tar.gz`, with `gs://` or `az://container/…` alike",
            )
        };
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| refuse("it has no scheme"))?;
        let provider = match scheme {
            "az" => Provider::Azure,
            "gs" => Provider::Google,
            "s3" => Provider::S3,
            _ => return Err(refuse("its scheme is none of `s3`, `gs` and `az`")),
        };
        let (bucket, key) = rest.split_once('/').ok_or_else(|| refuse("it names no object"))?;
        if bucket.contains('@') {
            return Err(refuse("it has user-info; credentials are settings of their own"));
        }
        if rest.contains(['?', '#']) {
            return Err(refuse("it has a query or a fragment"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'$');
        if bucket.is_empty() || !bucket.bytes().all(plain) {
            return Err(refuse("its bucket is none"));
        }
        if key.is_empty() || key.ends_with('/') {
            return Err(refuse("it names no object"));
        }
        let path =
            Path::from_url_path(key).map_err(|_| refuse("its path is none that an object can have"))?;
        Ok(Self { provider, bucket: bucket.to_owned(), path })
    }

    /// Returns the URI as errors name it.
    pub(crate) fn uri(&self) -> String {
        let scheme = match self.provider {
            Provider::Azure => "az",
            Provider::Google => "gs",
            Provider::S3 => "s3",
        };
        format!("{scheme}://{}/{}", self.bucket, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_provider_bucket_and_object() {
        for (uri, provider, path) in [
            ("s3://acme.flags/payments/manifest.tar.gz", Provider::S3, "payments/manifest.tar.gz"),
            ("gs://acme.flags/a%20b", Provider::Google, "a b"),
            ("az://acme.flags/manifest.tar.gz", Provider::Azure, "manifest.tar.gz"),
        ] {
            let location = Location::of(uri).unwrap();

            assert_eq!((location.provider, location.bucket.as_str()), (provider, "acme.flags"));
            assert_eq!(location.path.as_ref(), path);
        }
    }

    #[test]
    fn what_is_no_such_uri_is_refused_without_being_shown() {
        for bad in [
            "manifest.tar.gz",
            "https://bucket/hunter2",
            "s3://bucket",
            "s3://bucket/",
            "s3:///hunter2",
            "s3://bucket/folder/",
            "s3://key:hunter2@bucket/object",
            "s3://bucket/object?sig=hunter2",
            "s3://bucket/object#hunter2",
            "s3://bucket/../object",
        ] {
            let error = Location::of(bad).err().unwrap_or_else(|| panic!("`{bad}` was taken"));

            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
