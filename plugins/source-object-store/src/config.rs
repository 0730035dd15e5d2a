//! Settings of the `object_store` source.

leverframe::settings! {
    /// How objects are reached and read; what the URI's scheme does not need is not looked at.
    pub struct ObjectStoreConfig {
        /// The largest object that is read, in bytes.
        pub max_object_bytes: u64 = Integer, 5_000_000;
        /// How long a load may take in all, fetching credentials and reading the object included, in milliseconds.
        pub timeout_ms: u64 = Integer, 30_000;
        /// How long connecting may take, in milliseconds.
        pub connect_timeout_ms: u64 = Integer, 5_000;
        /// The region of `s3://` buckets. Empty: what the environment says, else `us-east-1`.
        pub region: String = String, String::new();
        /// The URL of a store other than the provider's own, such as MinIO. Empty: the provider's.
        pub endpoint: String = String, String::new();
        /// Whether an endpoint on another host may be spoken to without TLS. On the loopback interface it always may.
        pub allow_http: bool = Boolean, false;
        /// The id of the access key of `s3://` buckets.
        pub access_key_id: leverframe::Secret = Secret, leverframe::Secret::new("");
        /// The secret of the access key of `s3://` buckets, or the key of the account of `az://` containers.
        pub secret_access_key: leverframe::Secret = Secret, leverframe::Secret::new("");
        /// The storage account of `az://` containers. Empty: what the environment says.
        pub account: String = String, String::new();
        /// The JSON file with the service account for `gs://` buckets. Empty: what the environment says.
        pub credentials_file: std::path::PathBuf = Path, std::path::PathBuf::new();
        /// Whether requests go unsigned, as public buckets take them.
        pub anonymous: bool = Boolean, false;
        /// A PEM file of certificate authorities that are trusted besides the platform's. Empty: none.
        pub ca_file: std::path::PathBuf = Path, std::path::PathBuf::new();
    }
}
