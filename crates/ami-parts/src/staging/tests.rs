use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

use super::*;

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn contents(folder: &Path) -> Vec<(String, String)> {
    let text = |name: String| (name.clone(), fs::read_to_string(folder.join(name)).unwrap());
    entries(folder).into_iter().map(text).collect()
}

fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|&(name, text)| (name.into(), text.into()))
        .collect()
}

fn old_bundle(folder: &Path) {
    for (name, text) in [
        ("x.part.00", "old 0"),
        ("x.part.01", "old 1"),
        ("x.part.11", "old 11"),
        ("x.manifest.xml", "old manifest"),
        ("x", "an image"),
        ("y.part.0", "of another bundle"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn staged(folder: &Path) -> Staging {
    let staging = Staging::new(folder).unwrap();
    for (name, text) in [
        ("part.0", "new 0"),
        ("part.1", "new 1"),
        ("manifest", "new manifest"),
    ] {
        staging.write(name, text.as_bytes(), 0o666).unwrap();
    }
    staging
}

fn files() -> [NewFile; 3] {
    [
        NewFile::replacing("part.0", "x.part.0"),
        NewFile::replacing("part.1", "x.part.1"),
        NewFile::replacing("manifest", "x.manifest.xml"),
    ]
}

/// A kept folder, opened or made.
fn kept(destination: &Path) -> Option<Staging> {
    let prepared = Prepared::kept(destination, "id").unwrap()?;
    Some(prepared.make(Waiting::silent()).unwrap())
}

/// Leaves what a killed process does: no destructor has run, and the kernel has released its lock.
fn kill(staging: Staging) {
    let unlock = rustix::fs::FlockOperation::Unlock;
    rustix::fs::flock(&staging.private.folder, unlock).unwrap();
    std::mem::forget(staging);
}

#[test]
fn leaves_nothing_when_dropped() {
    let destination = tempfile::tempdir().unwrap();
    let staging = Staging::new(destination.path()).unwrap();
    staging.write("part.0", b"x", 0o666).unwrap();
    assert_eq!(entries(destination.path()).len(), 1);
    let mode = fs::metadata(staging.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    drop(staging);
    assert!(entries(destination.path()).is_empty());
}

#[test]
fn removes_what_a_killed_run_left_and_nothing_of_a_living_one() {
    let destination = tempfile::tempdir().unwrap();
    let abandoned = Staging::new(destination.path()).unwrap();
    abandoned.write("part.0", b"half", 0o666).unwrap();
    let path = abandoned.path().to_owned();
    kill(abandoned);
    fs::write(destination.path().join("precious"), "kept").unwrap();

    let first = Staging::new(destination.path()).unwrap();
    assert!(!path.exists());
    let second = Staging::new(destination.path()).unwrap();
    assert!(first.path().is_dir() && second.path().is_dir());
    assert_ne!(first.path(), second.path());
    drop((first, second));
    assert_eq!(entries(destination.path()), ["precious"]);
}

#[test]
fn a_sweeper_waits_for_what_still_has_an_owner_and_for_nothing_else() {
    let destination = tempfile::tempdir().unwrap();
    let prepared = Prepared::new(destination.path()).unwrap();
    let (name, descriptor) = (prepared.name().to_owned(), prepared.destination().unwrap());
    let staging = prepared.make(Waiting::silent()).unwrap();
    let other = Staging::new(destination.path()).unwrap();
    // A killed run whose lock is still held: only the sweeper that waits removes the folder.
    let lock = staging.folder().unwrap();
    std::mem::forget(staging);
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| sweep_after(descriptor, &name));
        drop(Staging::new(destination.path()).unwrap());
        assert!(destination.path().join(&name).is_dir());
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
        sweeper.join().unwrap().unwrap();
    });
    assert!(!destination.path().join(&name).exists());
    drop(other);
    assert!(entries(destination.path()).is_empty());
}

#[test]
fn what_is_kept_is_found_again_by_one_at_a_time() {
    let destination = tempfile::tempdir().unwrap();
    let first = kept(destination.path()).unwrap();
    first.write("part.0", b"x", 0o666).unwrap();
    assert!(Prepared::kept(destination.path(), "id").unwrap().is_none());
    drop(first);
    drop(Staging::new(destination.path()).unwrap());
    let second = kept(destination.path()).unwrap();
    assert_eq!(entries(second.path()), ["part.0"]);
    second.remove();
    assert!(entries(destination.path()).is_empty());
}

#[test]
fn finding_05_names_and_locks_taken_by_others_block_nobody() {
    let destination = tempfile::tempdir().unwrap();
    // Anybody can lock a folder that they can open.
    let held = File::open(destination.path()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // Their modes or owners differ from ours.
    for name in [".ec2-ami-tools-download.id.0", ".ec2-ami-tools-work.0"] {
        let path = destination.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::create_dir(path.join("turn")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let other = File::open(path.join("turn")).unwrap();
        rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
        std::mem::forget(other);
    }
    let staging = kept(destination.path()).unwrap();
    staging.write("manifest", b"m", 0o666).unwrap();
    let files = [
        NewFile::replacing("manifest", "x.manifest.xml"),
        NewFile::replacing("manifest", "x.manifest.xml"),
    ];
    let saved = staging
        .publish(&files[..1], Some("x"), Waiting::silent())
        .unwrap();
    assert!(saved.is_empty());
    // Two files with one name are noticed in advance.
    staging.write("manifest", b"m", 0o666).unwrap();
    let twice = staging.publish(&files, Some("x"), Waiting::silent());
    assert!(matches!(twice, Err(Error::Names { .. })), "{twice:?}");
    staging.remove();
    let expected = [
        ".ec2-ami-tools-download.id.0",
        ".ec2-ami-tools-work.0",
        "x.manifest.xml",
    ];
    assert_eq!(entries(destination.path()), expected);
}

#[test]
fn finding_05_a_wait_can_be_interrupted() {
    let destination = tempfile::tempdir().unwrap();
    let (holder, waiter) = (
        Staging::new(destination.path()).unwrap(),
        Staging::new(destination.path()).unwrap(),
    );
    let turn = turn::try_turn(&holder.private).unwrap().unwrap();
    waiter.write("manifest", b"m", 0o666).unwrap();
    let files = [NewFile::replacing("manifest", "x.manifest.xml")];
    let interrupted = AtomicBool::new(true);
    let waiting = Waiting {
        interrupted: &interrupted,
        tell: &|_| {},
    };
    let result = waiter.publish(&files, None, waiting);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    drop(turn);
    assert!(waiter.publish(&files, None, Waiting::silent()).is_ok());
    drop((holder, waiter));
    assert_eq!(entries(destination.path()), ["x.manifest.xml"]);
}

#[test]
fn a_name_that_is_taken_is_not_given() {
    let destination = tempfile::tempdir().unwrap();
    let staging = Staging::new(destination.path()).unwrap();
    for (content, name, is_given) in [("new", "image", true), ("newer", "image", false)] {
        staging.discard("new").unwrap();
        staging.write("new", content.as_bytes(), 0o666).unwrap();
        assert_eq!(staging.give_name("new", name).is_ok(), is_given);
    }
    assert_eq!(
        fs::read_to_string(destination.path().join("image")).unwrap(),
        "new"
    );
    drop(staging);
    assert_eq!(entries(destination.path()), ["image"]);
}

#[test]
fn a_link_with_such_a_name_is_not_followed() {
    let destination = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("part.0"), "kept").unwrap();
    for name in [".ec2-ami-tools.link", ".ec2-ami-tools-work.link"] {
        symlink(elsewhere.path(), destination.path().join(name)).unwrap();
    }
    drop(Staging::new(destination.path()).unwrap());
    assert_eq!(entries(elsewhere.path()), ["part.0"]);
    let expected = [".ec2-ami-tools-work.link", ".ec2-ami-tools.link"];
    assert_eq!(entries(destination.path()), expected);
}

#[test]
fn swapping_a_private_folder_does_not_redirect_its_run() {
    let destination = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("part.0"), "precious").unwrap();
    let staging = Staging::new(destination.path()).unwrap();
    let aside = destination.path().join("aside");
    fs::rename(staging.path(), &aside).unwrap();
    symlink(elsewhere.path(), staging.path()).unwrap();
    staging.write("part.1", b"x", 0o666).unwrap();
    fs::write(staging.own_path("part.2"), "y").unwrap();
    let published = staging.publish(
        &[NewFile::replacing("part.1", "x.part.1")],
        None,
        Waiting::silent(),
    );
    assert!(published.is_err());
    let link = staging.path().to_owned();
    drop(staging);
    assert_eq!(contents(elsewhere.path()), pairs(&[("part.0", "precious")]));
    assert!(link.is_symlink());
    assert_eq!(entries(&aside), ["part.1", "part.2"]);
}

#[test]
fn other_contents_of_a_private_folder_are_not_removed() {
    let destination = tempfile::tempdir().unwrap();
    for name in [".ec2-ami-tools-work.1", ".ec2-ami-tools.1"] {
        let folder = destination.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(folder.join("id_rsa"), "precious").unwrap();
        fs::create_dir(folder.join("replaced")).unwrap();
        fs::write(folder.join("replaced/shadow"), "precious").unwrap();
    }
    drop(Staging::new(destination.path()).unwrap());
    for name in entries(destination.path()) {
        let folder = destination.path().join(name);
        assert_eq!(entries(&folder), ["id_rsa", "replaced"]);
        assert_eq!(entries(&folder.join("replaced")), ["shadow"]);
    }
}

#[test]
fn a_destination_that_is_not_there_is_an_error_that_names_it() {
    let error = Staging::new(Path::new("/nonexistent/folder")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/folder");
}

#[test]
fn a_new_bundle_takes_the_place_of_a_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    old_bundle(folder.path());
    let staging = staged(folder.path());
    let mut replaced = replaced_files(folder.path(), "x").unwrap();
    replaced.sort();
    let names = ["x.manifest.xml", "x.part.00", "x.part.01", "x.part.11"];
    assert_eq!(replaced, names.map(|name| folder.path().join(name)));
    let saved = staging.publish(&files(), Some("x"), Waiting::silent());
    assert!(saved.unwrap().is_empty());
    drop(staging);
    let expected = [
        ("x", "an image"),
        ("x.manifest.xml", "new manifest"),
        ("x.part.0", "new 0"),
        ("x.part.1", "new 1"),
        ("y.part.0", "of another bundle"),
    ];
    assert_eq!(contents(folder.path()), pairs(&expected));
}

#[test]
fn a_folder_with_a_parts_name_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("x.part.7")).unwrap();
    assert!(matches!(
        replaced_files(folder.path(), "x"),
        Err(Error::InTheWay { .. })
    ));
    let staging = staged(folder.path());
    let result = staging.publish(&files(), Some("x"), Waiting::silent());
    assert!(matches!(result, Err(Error::InTheWay { .. })), "{result:?}");
    drop(staging);
    assert_eq!(entries(folder.path()), ["x.part.7"]);
}

#[test]
fn a_dot_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".bashrc"), "mine").unwrap();
    let staging = staged(folder.path());
    let files = [
        NewFile::replacing("part.0", ".bashrc"),
        NewFile::replacing("manifest", "x.manifest.xml"),
    ];
    let result = staging.publish(&files, None, Waiting::silent());
    assert!(matches!(result, Err(Error::DotFile { .. })), "{result:?}");
    drop(staging);
    assert_eq!(contents(folder.path()), pairs(&[(".bashrc", "mine")]));
}

#[test]
fn finding_18_only_an_own_file_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let staging = Staging::new(folder.path()).unwrap();
    for name in ["own", "linked", "writable", "another's"] {
        fs::write(path(name), "x").unwrap();
    }
    fs::hard_link(path("linked"), path("linked too")).unwrap();
    fs::set_permissions(path("writable"), PermissionsExt::from_mode(0o666)).unwrap();
    std::os::unix::fs::chown(path("another's"), Some(12345), None).unwrap();
    symlink("own", path("link")).unwrap();
    fs::create_dir(path("folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for name in [
        "linked",
        "writable",
        "another's",
        "link",
        "folder",
        "fifo",
        "missing",
    ] {
        assert!(!staging.adopt(name, "part.0"), "{name}");
    }
    assert!(staging.adopt("own", "part.0"));
    // It stays in place, neither replaced nor lost.
    staging.write("manifest", b"m", 0o666).unwrap();
    let files = [
        NewFile::replacing("part.0", "own"),
        NewFile::replacing("manifest", "x.manifest.xml"),
    ];
    assert!(staging.publish(&files, None, Waiting::silent()).is_ok());
    drop(staging);
    assert_eq!(fs::read_to_string(path("own")).unwrap(), "x");
}

type Files<'a> = &'a [(&'a str, &'a str)];

/// The folder of a killed run of version 0.1.0.
fn of_0_1_0(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let private = folder.join(name);
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    for (file, text) in files {
        let path = private.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    private
}

#[test]
fn what_0_1_0_left_is_restored_or_removed() {
    let old = [("x.manifest.xml", "old manifest"), ("x.part.0", "old")];
    let aside = |folder: &str| old.map(|(name, text)| (format!("{folder}/{name}"), text));
    let cases: [(&str, &str, Files<'_>, Files<'_>); 4] = [
        // Killed while it was moving older files.
        ("replacing", "part.0", &[], &old),
        // Killed before the first new file had its name.
        ("replaced", "x.manifest.xml", &[], &old),
        // Killed when the bundle was complete.
        (
            "replaced",
            "part.7",
            &[("x.manifest.xml", "new"), ("x.part.0", "new")],
            &[("x.manifest.xml", "new"), ("x.part.0", "new")],
        ),
        // A later run has published the same bundle.
        (
            "replaced",
            "x.manifest.xml",
            &[("x.manifest.xml", "later")],
            &[("x.manifest.xml", "later")],
        ),
    ];
    for (folder_name, staged, there, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in there {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let aside = aside(folder_name);
        let mut files: Vec<_> = aside
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        files.push((staged, "staged"));
        let _ = of_0_1_0(folder.path(), ".ec2-ami-tools.0123456789abcdef", &files);
        let _ = of_0_1_0(
            folder.path(),
            ".ec2-ami-tools-kept.00",
            &[("parts/image.part.0", "x")],
        );
        drop(Staging::new(folder.path()).unwrap());
        assert_eq!(
            contents(folder.path()),
            pairs(expected),
            "{folder_name}, {staged}"
        );
    }
}

#[test]
fn what_0_1_0_left_is_kept_if_it_cannot_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.part.0"), "perhaps new").unwrap();
    let files = [
        ("replaced/x.part.0", "old"),
        ("replaced/x.manifest.xml", "old manifest"),
        ("x.manifest.xml", "staged"),
    ];
    let _ = of_0_1_0(folder.path(), ".ec2-ami-tools.07", &files);
    for _ in 0..2 {
        let staging = Staging::new(folder.path()).unwrap();
        let saved = folder.path().join(".ec2-ami-tools-saved.07");
        assert_eq!(staging.saved().unwrap(), std::slice::from_ref(&saved));
        drop(staging);
        assert_eq!(
            entries(folder.path()),
            [".ec2-ami-tools-saved.07", "x.part.0"]
        );
        assert_eq!(
            contents(&saved.join("replaced")),
            pairs(&[("x.manifest.xml", "old manifest"), ("x.part.0", "old")])
        );
    }
}
