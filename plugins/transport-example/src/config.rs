//! Settings of the `example` transport.

leverframe::settings! {
    /// Where answers come from.
    pub struct ExampleConfig {
        /// The folder whose files are the answers. Required.
        pub folder: std::path::PathBuf = Path, std::path::PathBuf::new();
    }
}
