//! A command, its initial state, and what must be true afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::sha::sha256;
use tempfile::TempDir;

use crate::{key, outcome, run};

/// The name of the bundle in the older state, and of the new one.
pub const BUNDLE: &str = "image";

/// Whether a name is that of a private folder that the next run resumes.
pub fn is_to_resume(name: &str) -> bool {
    name.starts_with(".ec2-ami-tools-download.")
}

/// What is promised if a command fails or is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The target is unchanged, or has the whole result.
    AllOrNothing,
    /// The same, and a private folder may stay, which the next run of this command resumes.
    Resumes,
    /// All or nothing, except that a killed run may have made its backup of the manifest, which the next run of this command adopts.
    BacksUp,
    /// The target is a bucket. If there is a manifest, its whole bundle is there.
    ManifestMeansWhole,
    /// What it makes is elsewhere. The next run goes on with what is there.
    GoesOn,
    /// The command changes nothing, and may never succeed.
    NeverSucceeds,
}

/// Whether a result is there; if not, what is wrong.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send>;

/// One of the suite's commands in an environment that can be restored before each run.
pub struct Scene {
    /// The command's name.
    pub program: &'static str,
    /// Which of the command's scenes it is, for reports.
    pub state: &'static str,
    /// Makes the command.
    pub command: Box<dyn Fn() -> Command + Send>,
    /// The folder that the command changes.
    pub target: PathBuf,
    /// What is promised.
    pub promise: Promise,
    /// Whether the command has done its work.
    pub complete: Check,
    /// The target's contents before each run.
    before: PathBuf,
    /// Restores anything else before each run.
    restore: Box<dyn Fn() + Send>,
    /// The target's files before each run.
    digests: Files,
    _work: TempDir,
}

/// A folder's files: mode and SHA-256 of each.
pub type Files = BTreeMap<String, String>;

impl Scene {
    /// A scene whose target `work/target` begins as a copy of `work/before`, which must exist.
    pub fn new(
        program: &'static str,
        state: &'static str,
        work: TempDir,
        promise: Promise,
        command: impl Fn() -> Command + Send + 'static,
        complete: impl Fn() -> Result<(), String> + Send + 'static,
    ) -> Self {
        let before = work.path().join("before");
        let scene = Self {
            program,
            state,
            command: Box::new(command),
            target: work.path().join("target"),
            promise,
            complete: Box::new(complete),
            digests: files(&before),
            before,
            restore: Box::new(|| ()),
            _work: work,
        };
        scene.reset();
        scene
    }

    /// The same, with a target elsewhere, and something else to be restored before each run.
    pub fn with_target(mut self, target: PathBuf, restore: impl Fn() + Send + 'static) -> Self {
        self.target = target;
        self.restore = Box::new(restore);
        self.reset();
        self
    }

    /// The scene's name in reports: the command and the state.
    pub fn name(&self) -> String {
        format!("{} ({})", self.program, self.state)
    }

    /// Restores the initial state.
    pub fn reset(&self) {
        match fs::remove_dir_all(&self.target) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                panic!("{}: {e}", self.target.display())
            }
            _ => copy(&self.before, &self.target),
        }
        (self.restore)();
    }

    /// Checks that the target has its earlier contents or a whole result, as promised.
    pub fn is_kept(&self) -> Result<Kept, String> {
        self.compare(files(&self.target))
    }

    /// The same after a kill.
    pub fn is_kept_after_kill(&self) -> Result<Kept, String> {
        let mut now = files(&self.target);
        if self.promise == Promise::BacksUp {
            let of_old = |name: &str| self.digests.get(name.strip_suffix(".bak")?);
            now.retain(|name, digest| of_old(name) != Some(digest));
        }
        self.compare(now)
    }

    fn is_before(&self, now: &Files) -> bool {
        let counts = |name: &&String| self.promise != Promise::Resumes || !is_to_resume(name);
        now.iter()
            .filter(|(name, _)| counts(name))
            .eq(self.digests.iter())
    }

    fn compare(&self, now: Files) -> Result<Kept, String> {
        if self.is_before(&now) {
            return Ok(Kept::Before);
        }
        let complete = (self.complete)();
        let Err(incomplete) = complete else {
            return Ok(Kept::Complete);
        };
        if self.promise == Promise::ManifestMeansWhole {
            return manifest_means_whole(&self.target)
                .map(|()| Kept::NoManifest)
                .map_err(|wrong| format!("{wrong}; there is {now:#?}"));
        }
        Err(format!(
            "neither as before nor complete ({incomplete}): there is {now:#?}, there was {:#?}",
            self.digests
        ))
    }

    /// Whether the target is a folder in which the next run cleans up.
    pub fn is_local(&self) -> bool {
        self.promise != Promise::ManifestMeansWhole
    }

    /// Makes another bundle in the target, as somebody's next run there would, and removes it.
    pub fn run_another(&self) -> Result<(), String> {
        const NEXT: &str = "next";
        let folder = crate::folder();
        let image = folder.path().join("image");
        fs::write(&image, [7; 1000]).unwrap();
        let mut arguments = crate::bundling(&image, &self.target);
        arguments.extend(["-p", NEXT].map(str::to_owned));
        let result = run("ec2-bundle-image", &arguments);
        let manifest = self.target.join(format!("{NEXT}.manifest.xml"));
        let verified = verify(&manifest);
        if result.code != 0 || verified.is_err() {
            return Err(format!("the next run fails: {result:?}, {verified:?}"));
        }
        for name in crate::names(&self.target) {
            if name.starts_with(&format!("{NEXT}.")) {
                fs::remove_file(self.target.join(name)).unwrap();
            }
        }
        Ok(())
    }
}

/// The contents of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Unchanged.
    Before,
    /// The result.
    Complete,
    /// Parts without a manifest, or with that of a whole bundle.
    NoManifest,
}

/// Copies a folder of files.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The files of a folder, including those in its subfolders.
pub fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    collect(folder, "", &mut found);
    found
}

fn collect(folder: &Path, begin: &str, found: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{begin}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().unwrap();
        let mode = metadata.permissions().mode();
        let kind = if metadata.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
            String::new()
        } else if is_to_resume(&name) {
            // It may be large, and is not compared.
            String::new()
        } else {
            hex::encode(sha256(&fs::read(entry.path()).unwrap()))
        };
        let _ = found.insert(name, format!("{mode:o} {kind}"));
    }
}

/// Fails unless a folder has exactly these names.
pub fn has_only(folder: &Path, names: &[String]) -> Result<(), String> {
    let mut found = crate::names(folder);
    // Private folders are checked elsewhere.
    found.retain(|name| !is_to_resume(name));
    let mut expected = names.to_vec();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    Err(format!("{found:?} is there in place of {expected:?}"))
}

/// Fails unless a manifest's bundle is valid: its signature, its parts and its image.
pub fn verify(manifest: &Path) -> Result<(), String> {
    let (private_key, certificate) = (key("user2048.key"), key("user2048.crt"));
    let mut verify = crate::command::<&str>("ec2-verify-bundle", &[]);
    let _ = verify.arg("-m").arg(manifest);
    let _ = verify.arg("-k").arg(private_key).arg("-c").arg(certificate);
    let result = outcome(&mut verify);
    if result.code == 0 {
        return Ok(());
    }
    Err(format!("{} is not whole: {result:?}", manifest.display()))
}

/// Fails if a folder has a manifest whose bundle is not whole.
pub fn manifest_means_whole(folder: &Path) -> Result<(), String> {
    let names = crate::names(folder);
    let mut manifests = names.iter().filter(|name| name.ends_with(".manifest.xml"));
    manifests.try_for_each(|name| verify(&folder.join(name)))
}

/// The text of an element of a manifest.
pub fn element(manifest: &Path, name: &str) -> String {
    let xml = fs::read_to_string(manifest).unwrap_or_default();
    let image = xml.split("<image>").nth(1).unwrap_or_default();
    let rest = image.split(&format!("<{name}")).nth(1).unwrap_or_default();
    let text = rest.split('>').nth(1).unwrap_or_default();
    text.split('<').next().unwrap_or_default().to_owned()
}
