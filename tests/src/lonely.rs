//! Runs commands as an ordinary user without any other processes, so that only what a test starts counts towards the user's limits.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::{bundling, command_path, isolate, key};

/// A user for one test, and a folder that belongs to the user.
#[derive(Debug)]
pub struct LonelyUser {
    /// The user's ID, and the group's.
    pub id: u32,
    folder: TempDir,
}

impl LonelyUser {
    /// A new user, with copies of these commands and of the keys in the folder, because the user cannot access the build folder.
    pub fn new(commands: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Tests run concurrently in a process, and the whole suite may run twice at the same time.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = 2_000_000 + std::process::id() * 16 + count;
        // The test's own temporary folder may be inaccessible to other users.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let copied = commands.iter().map(|name| command_path(name));
        let keys = ["user2048.key", "user2048.crt", "ec2.crt"].map(key);
        for from in copied.chain(keys) {
            let to = folder.path().join(from.file_name().unwrap());
            let _ = fs::copy(&from, &to).unwrap();
            let is_program = to.extension().is_none();
            let mode = if is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        }
        chown(folder.path(), Some(id), Some(id)).unwrap();
        Self { id, folder }
    }

    /// A path in the user's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a folder that belongs to the user.
    pub fn new_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(self.id), Some(self.id)).unwrap();
        path
    }

    /// The arguments of bundling, with the user's copies of the keys.
    pub fn bundling(&self, image: &Path, destination: &Path) -> Vec<String> {
        let keys = key("user2048.key");
        let (from, to) = (keys.parent().unwrap(), self.folder.path());
        let move_key = |word: String| match Path::new(&word).strip_prefix(from) {
            Ok(name) => to.join(name).to_str().unwrap().to_owned(),
            Err(_) => word,
        };
        bundling(image, destination)
            .into_iter()
            .map(move_key)
            .collect()
    }

    /// Any program, run as the user with at most `most` processes and threads.
    pub fn program<S: AsRef<OsStr>>(
        &self,
        most: usize,
        program: &Path,
        arguments: &[S],
    ) -> Command {
        let id = self.id.to_string();
        let mut command = Command::new("prlimit");
        let _ = isolate(&mut command)
            .arg(format!("--nproc={most}"))
            .args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// One of the suite's commands, run as the user with at most `most` processes and threads.
    pub fn command<S: AsRef<OsStr>>(&self, most: usize, name: &str, arguments: &[S]) -> Command {
        self.program(most, &self.path(name), arguments)
    }
}
