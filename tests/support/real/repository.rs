//! Repositories made with the git program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::process::program;

/// A repository with a work tree, in a folder of its own.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes an empty repository whose branch is `main`.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let repository = Self { path: path.to_owned() };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git with neither the user's nor the system's settings, and returns what it prints.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new(program("git"))
            .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "git {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes files and commits them; returns the commit's name.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.path.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Change"]);
        self.head()
    }

    /// The name of the newest commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}
