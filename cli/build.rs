//! Puts the payments example into the binary, so that the demonstration runs from anywhere.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

#[expect(clippy::disallowed_methods, reason = "a build script is told its folders by environment variables")]
fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../examples/namespaces/payments");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["", "flags", "segments"] {
        for item in fs::read_dir(root.join(folder))? {
            let path = item?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut code = String::from("fn payments() -> Tree {\n    [\n");
    for path in files {
        let name = path.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
        writeln!(code, "        ({name:?}, include_str!({:?})),", path.canonicalize()?)?;
    }
    code.push_str("    ]\n    .into_iter()\n    .collect()\n}\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("payments.rs"), code)?;
    Ok(())
}
