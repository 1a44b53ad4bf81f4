//! Streams, threads, memory, signals, manifests and progress bars.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::bundles::Forged;
use end_to_end::{Outcome, command_path, folder, isolate, key, names, outcome, shell};
use flate2::{Compress, Compression, FlushCompress};

/// Only turns a hang into a failure.
const HANG: &str = "300";

/// Runs one of the suite's commands, which is to end.
fn run_to_end<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: &[S]) -> Outcome {
    let mut command = Command::new("timeout");
    let _ = isolate(&mut command)
        .args(["--kill-after=1", HANG])
        .arg(command_path(name))
        .args(arguments)
        .stdin(std::process::Stdio::null());
    outcome(&mut command)
}

/// The arguments with which a bundle in the folder of its manifest is unbundled.
fn unbundling(manifest: &Path, destination: &Path) -> Vec<PathBuf> {
    vec![
        "-k".into(),
        key("user2048.key"),
        "-m".into(),
        manifest.into(),
        "-s".into(),
        manifest.parent().unwrap().into(),
        "-d".into(),
        destination.into(),
    ]
}

/// A tar stream of one file called `image`, by GNU tar.
fn tar_of(bytes: &[u8]) -> Vec<u8> {
    let work = folder();
    fs::write(work.path().join("image"), bytes).unwrap();
    let _ = shell("tar -cf t --owner 0 --group 0 image", work.path());
    fs::read(work.path().join("t")).unwrap()
}

/// Before, half a megabyte took seconds and the time grew with its square.
#[test]
fn finding_09_twenty_megabytes_of_empty_blocks_are_unbundled_and_verified() {
    let tar = tar_of(b"small");
    let mut deflate = Compress::new(Compression::best(), false);
    let mut stream = Vec::with_capacity(21 << 20);
    // gzip's header without flags (RFC 1952), the blocks, an empty last block, CRC-32 and length.
    stream.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    let _ = deflate
        .compress_vec(&tar, &mut stream, FlushCompress::Sync)
        .unwrap();
    stream.extend([0, 0, 0, 0xff, 0xff].repeat(4 << 20));
    stream.extend([3, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&tar);
    stream.extend(crc.sum().to_le_bytes());
    stream.extend(crc.amount().to_le_bytes());
    let work = folder();
    let manifest = Forged::new(&stream, &tar, 5).write(work.path());

    let destination = folder();
    let result = run_to_end("ec2-unbundle", &unbundling(&manifest, destination.path()));
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert_eq!(names(destination.path()), ["image"]);
    assert_eq!(
        fs::read(destination.path().join("image")).unwrap(),
        b"small"
    );
    let arguments = ["-m".into(), manifest, "-k".into(), key("user2048.key")];
    let result = run_to_end("ec2-verify-bundle", &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
}
