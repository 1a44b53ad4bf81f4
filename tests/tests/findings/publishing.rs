//! Publishing in a destination that others use too.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::images::{incompressible, sparse};
use end_to_end::injection::injected;
use end_to_end::power::assert_nothing_is_lost;
use end_to_end::rivals::{Rivals, round, small_volume, whole_bundle};
use end_to_end::s3::{BUCKET, Server, bundle_files, ok, private_key, small_parts, with_keys};
use end_to_end::same::assert_same_files;
use end_to_end::traces::assert_no_trace;
use end_to_end::{
    bundle, bundling, bundling_volume, command, contents, folder, has_begun, names, outcome,
    wait_until,
};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

/// Makes an image of `parts` parts, and the command that bundles it as `image`.
fn bundling_parts(work: &Path, parts: usize, destination: &Path) -> Command {
    let image = work.join(format!("{parts} parts"));
    incompressible(&image, (parts * (10 << 20)) - (1 << 20));
    let mut arguments = bundling(&image, destination);
    arguments.extend(["-p", "image"].map(str::to_owned));
    command("ec2-bundle-image", &arguments)
}

/// An older bundle of one part.
fn older_bundle(work: &Path, destination: &Path) {
    let old = work.join("old");
    sparse(&old, 100_000, &[(0, 100_000)]);
    let _ = bundle(&old, destination, &["-p", "image"]);
}

#[test]
fn finding_01_of_rivals_that_are_killed_while_they_publish_the_last_success_has_its_bundle() {
    let rivals = Rivals::prepare();
    let killed: usize = (0..20).map(|seed| round(&rivals, seed).killed).sum();
    assert!(killed >= 20, "only {killed} of 40 runs were killed");
}

#[test]
fn finding_03_a_download_that_fails_while_it_publishes_keeps_the_older_bundle() {
    let server = Server::start();
    let store = server.bucket(BUCKET);
    for (name, bytes) in bundle_files(&small_parts()) {
        fs::write(store.join(name), bytes).unwrap();
    }
    let work = folder();
    let destination = folder();
    older_bundle(work.path(), destination.path());
    let before = contents(destination.path());
    let key = private_key();
    let to = destination.path().to_str().unwrap();
    for resume in [&[][..], &["--retry"]] {
        let arguments = [&["-k", &key, "-d", to][..], resume].concat();
        let download = with_keys("ec2-download-bundle", &server.url(), &arguments);
        for when in [1, 5, 13] {
            let injection = format!("renameat2:error=EIO:when={when}");
            let result = outcome(&mut injected(&download, &injection));
            assert_eq!(result.code, 254, "{result:?}");
            assert!(result.stderr.contains("Input/output error"), "{result:?}");
            let mut after = names(destination.path());
            after.retain(|name| !name.starts_with(".ec2-ami-tools-download."));
            assert_eq!(after, before.keys().cloned().collect::<Vec<_>>());
            for (name, bytes) in &before {
                assert!(
                    fs::read(destination.path().join(name)).unwrap() == *bytes,
                    "{name}"
                );
            }
        }
    }
    // The last download's private folder is still there.
    let download = ["-k", &key, "-d", to, "--retry"];
    let result = ok(with_keys("ec2-download-bundle", &server.url(), &download));
    assert_eq!(result.stdout.matches("Skipping image.part.").count(), 12);
    let mut expected = bundle_files(&small_parts());
    // The older bundle's only part has another name.
    let _ = expected.insert("image.part.0".to_owned(), before["image.part.0"].clone());
    assert_same_files(&contents(destination.path()), &expected);
}

#[test]
fn finding_05_nobody_waits_for_a_lock_that_a_stranger_can_take() {
    let work = folder();
    let destination = folder();
    older_bundle(work.path(), destination.path());
    let held = File::open(destination.path()).unwrap();
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    let result = outcome(&mut bundling_parts(work.path(), 2, destination.path()));
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_eq!(whole_bundle(destination.path(), "image"), 19 << 20);
}

/// The sweeper of a process.
fn sweeper_of(id: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let is_sweeper = |child: &&str| {
        let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.contains("--sweep-after-me")
    };
    let child = children.split_whitespace().find(is_sweeper)?;
    Pid::from_raw(child.parse().ok()?)
}

#[test]
fn finding_13_a_sweeper_that_is_stopped_is_not_waited_for() {
    let work = folder();
    let destination = folder();
    let mut run = bundling_parts(work.path(), 2, destination.path());
    let mut child = run
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let mut sweeper = None;
    wait_until(&mut child, "there was a sweeper", || {
        sweeper = sweeper_of(id);
        sweeper.is_some()
    });
    let sweeper = sweeper.unwrap();
    kill_process(sweeper, Signal::STOP).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // It has been reaped.
    assert!(
        !Path::new("/proc")
            .join(sweeper.as_raw_nonzero().to_string())
            .exists()
    );
    assert_eq!(whole_bundle(destination.path(), "image"), 19 << 20);
}

/// A run that is stopped, with or without the turn, and then killed.
#[test]
fn finding_13_a_sweeper_clears_up_after_a_run_that_was_stopped_and_killed() {
    let work = folder();
    let destination = folder();
    older_bundle(work.path(), destination.path());
    let before = contents(destination.path());
    let mut run = bundling_parts(work.path(), 2, destination.path());
    let mut child = run
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(&mut child, "it began", || has_begun(destination.path()));
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    assert_no_trace(destination.path());
    assert_same_files(&contents(destination.path()), &before);
}

#[test]
fn finding_14_what_fails_after_the_bundle_is_complete_says_that_it_is() {
    let work = folder();
    let destination = folder();
    let manifest = destination.path().join("image.manifest.xml");
    let run = bundling_parts(work.path(), 1, destination.path());
    let complete = format!("{} is complete, but ", manifest.display());
    // Standard output on a full disk; the last sync is that of the folder with the manifest.
    let mut unheard = bundling_parts(work.path(), 1, destination.path());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let unheard = unheard.arg("--json").stdout(full).stderr(Stdio::piped());
    let unheard = unheard.spawn().unwrap();
    let unheard = unheard.wait_with_output().unwrap();
    let said = String::from_utf8(unheard.stderr).unwrap();
    assert_eq!(unheard.status.code(), Some(254), "{said}");
    assert!(said.contains(&complete), "{said}");
    assert_eq!(whole_bundle(destination.path(), "image"), 9 << 20);
    for name in names(destination.path()) {
        fs::remove_file(destination.path().join(name)).unwrap();
    }
    let unsynced = outcome(&mut injected(&run, "fsync:error=EIO:when=6"));
    assert_eq!(unsynced.code, 1, "{unsynced:?}");
    assert!(unsynced.stderr.contains(&complete), "{unsynced:?}");
    assert_eq!(whole_bundle(destination.path(), "image"), 9 << 20);
}

#[test]
fn finding_14_of_a_key_pair_there_are_both_files_or_none() {
    for when in 1..=2 {
        let destination = folder();
        let arguments = ["-d", destination.path().to_str().unwrap(), "--cn", "me"];
        let create = command("ec2-create-signing-cert", &arguments);
        let failed = outcome(&mut injected(
            &create,
            &format!("renameat2:error=EIO:when={when}"),
        ));
        assert_eq!(failed.code, 254, "{failed:?}");
        assert!(names(destination.path()).is_empty());
        let _ = outcome(&mut injected(
            &create,
            &format!("renameat2:signal=SIGKILL:when={when}"),
        ));
        assert_no_trace(destination.path());
        assert!(names(destination.path()).is_empty());
    }
}

#[test]
fn finding_15_a_private_folder_that_cannot_be_locked_does_not_stay() {
    let work = folder();
    let destination = folder();
    let run = bundling_parts(work.path(), 1, destination.path());
    let result = outcome(&mut injected(&run, "flock:error=ENOLCK"));
    assert_eq!(result.code, 1, "{result:?}");
    assert!(result.stderr.contains("No locks available"), "{result:?}");
    assert!(names(destination.path()).is_empty());
}

#[test]
fn finding_16_an_image_and_its_bundle_come_together_or_not_at_all() {
    let volume = small_volume();
    let work = folder();
    let destination = folder();
    older_bundle(work.path(), destination.path());
    let before = contents(destination.path());
    let arguments = bundling_volume(&volume.path(), destination.path());
    let imaging = command("ec2-bundle-vol", &arguments);
    // The image, its only part, and the manifest get their names.
    for when in 1..=3 {
        for fault in ["error=EIO", "signal=SIGKILL"] {
            let result = outcome(&mut injected(
                &imaging,
                &format!("renameat2:{fault}:when={when}"),
            ));
            assert_ne!(result.code, 0, "{result:?}");
            assert_no_trace(destination.path());
            assert!(contents(destination.path()) == before, "{fault}, {when}");
        }
    }
    let result = outcome(&mut command("ec2-bundle-vol", &arguments));
    assert_eq!(result.code, 0, "{result:?}");
    let image = destination.path().join("image");
    assert_eq!(fs::metadata(&image).unwrap().len(), 64 << 20);
    fs::remove_file(image).unwrap();
    assert_eq!(whole_bundle(destination.path(), "image"), 64 << 20);
}

#[test]
fn the_order_in_which_a_bundle_reaches_the_disk_survives_every_power_cut() {
    let work = folder();
    let destination = work.path().join("destination");
    fs::create_dir(&destination).unwrap();
    let _ = outcome(&mut bundling_parts(work.path(), 3, &destination));
    let old = names(&destination);
    assert_eq!(old.len(), 4);
    let run = bundling_parts(work.path(), 2, &destination);
    let trace = work.path().join("trace");
    let calls = "trace=openat,mkdirat,renameat,renameat2,unlinkat,linkat,fsync,fdatasync";
    let traced = outcome(
        Command::new("strace")
            .args(["-f", "-y", "-s", "500", "-e", calls, "-o"])
            .arg(&trace)
            .arg(run.get_program())
            .args(run.get_args()),
    );
    assert_eq!(traced.code, 0, "{traced:?}");
    let new = names(&destination);
    let states = assert_nothing_is_lost(
        &fs::read_to_string(trace).unwrap(),
        &fs::canonicalize(&destination).unwrap(),
        &old,
        &new,
        "image.manifest.xml",
    );
    assert!(states > 500, "{states}");
}
