//! Streams, threads, memory, signals, manifests and progress bars.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use end_to_end::bundles::Forged;
use end_to_end::images::incompressible;
use end_to_end::lonely::LonelyUser;
use end_to_end::s3::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, small_parts, with_keys};
use end_to_end::same::assert_same_bytes;
use end_to_end::{
    Outcome, bundle, bundling, command, command_path, folder, golden, has_begun, isolate, key,
    names, outcome, sha1, shell, wait_until,
};
use flate2::{Compress, Compression, FlushCompress};

/// A limit in seconds that only turns a hang into a failure.
const HANG: &str = "300";

/// Runs one of the suite's commands, and fails if it hangs.
fn run_to_end<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> Outcome {
    let mut command = Command::new("timeout");
    let _ = isolate(&mut command)
        .args(["--kill-after=1", HANG])
        .arg(command_path(name))
        .args(arguments)
        .stdin(Stdio::null());
    outcome(&mut command)
}

/// The arguments to unbundle a bundle in the folder of its manifest.
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

/// GNU tar's stream of one file called `image`.
fn tar_of(bytes: &[u8]) -> Vec<u8> {
    let work = folder();
    fs::write(work.path().join("image"), bytes).unwrap();
    let _ = shell("tar -cf t --owner 0 --group 0 image", work.path());
    fs::read(work.path().join("t")).unwrap()
}

/// Half a megabyte once took seconds, and the time grew quadratically.
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
    assert_same_bytes(
        &fs::read(destination.path().join("image")).unwrap(),
        b"small",
    );
    let arguments = ["-m".into(), manifest, "-k".into(), key("user2048.key")];
    let result = run_to_end("ec2-verify-bundle", &arguments);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
}

/// A command's peak memory in KiB, and its outcome.
fn with_peak_memory<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> (u64, Outcome) {
    let mut command = Command::new("/usr/bin/time");
    let _ = isolate(&mut command)
        .args(["-f", "%M"])
        .arg(command_path(name))
        .args(arguments);
    let mut result = outcome(&mut command);
    let stderr = result.stderr.trim_end().to_owned();
    let (said, memory) = stderr.rsplit_once('\n').unwrap_or(("", &stderr));
    result.stderr = said.to_owned();
    (memory.parse().unwrap(), result)
}

#[test]
fn finding_10_sixteen_megabytes_of_empty_elements_take_little_memory() {
    let work = folder();
    let manifest = work.path().join("image.manifest.xml");
    let node = "<part/>";
    let count = (16 << 20) / node.len() - 10;
    let text = format!("<manifest>{}</manifest>", node.repeat(count));
    fs::write(&manifest, text).unwrap();
    let (memory, result) = with_peak_memory("ec2-unbundle", &unbundling(&manifest, work.path()));
    assert_eq!(result.code, 254);
    assert!(
        result
            .stderr
            .contains("it has more than 600000 elements and attributes"),
        "{}",
        result.stderr
    );
    assert!(memory < 192 << 10, "{memory} KiB");
}

/// With every limit on threads, up to as many as are useful.
#[test]
fn finding_11_few_threads_are_enough_or_it_is_said_in_a_line() {
    let user = LonelyUser::new(&[
        "ec2-bundle-image",
        "ec2-verify-bundle",
        "ec2-unbundle",
        "ec2-upload-bundle",
    ]);
    let image = user.path("image");
    incompressible(&image, 25 << 20);
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    for most in 1..=5 {
        let bundled = user.new_folder(&format!("bundled-{most}"));
        let unbundled = user.new_folder(&format!("unbundled-{most}"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let manifest = text(&bundled.join("image.manifest.xml"));
        let private_key = text(&user.path("user2048.key"));
        let run = |name: &str, arguments: &[&str]| {
            let mut command = user.command(most, name, arguments);
            outcome(
                command
                    .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                    .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            )
        };
        let ok = |name: &str, arguments: &[&str]| {
            let result = run(name, arguments);
            let told = (result.code, result.stderr.as_str());
            assert_eq!(told, (0, ""), "{name} with {most} threads");
        };
        let bundling = user.bundling(&image, &bundled);
        let bundling: Vec<&str> = bundling.iter().map(String::as_str).collect();
        ok("ec2-bundle-image", &bundling);
        ok("ec2-verify-bundle", &["-m", &manifest, "-k", &private_key]);
        let (from, to) = (text(&bundled), text(&unbundled));
        ok(
            "ec2-unbundle",
            &["-m", &manifest, "-k", &private_key, "-s", &from, "-d", &to],
        );
        assert_same_bytes(
            &fs::read(unbundled.join("image")).unwrap(),
            &fs::read(&image).unwrap(),
        );

        let url = server.url();
        let upload = ["-b", BUCKET, "--url", &url, "-m", &manifest, "--batch"];
        let result = run("ec2-upload-bundle", &upload);
        if most == 1 {
            assert_eq!(result.code, 254);
            let why = "ERROR: cannot start a thread: the limit of processes and threads is too low";
            assert!(result.stderr.starts_with(why), "{}", result.stderr);
            assert_eq!(result.stderr.matches('\n').count(), 1, "{}", result.stderr);
        } else {
            assert_eq!((result.code, result.stderr.as_str()), (0, ""), "{most}");
            assert!(bucket.join("image.manifest.xml").is_file());
        }
    }
}

/// The owner of a process's files in /proc: root, if neither its user nor a core dump may read its memory.
fn owner(process: u32) -> u32 {
    fs::metadata(format!("/proc/{process}/environ"))
        .unwrap()
        .uid()
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    let _ = child.wait().unwrap();
}

#[test]
fn finding_19_a_commands_memory_is_closed_to_core_dumps_and_its_sweepers_too() {
    let user = LonelyUser::new(&["ec2-bundle-image"]);
    let image = user.path("image");
    // Large enough that it does not end soon.
    incompressible(&image, 400 << 20);
    let destination = user.new_folder("destination");
    let mut other = user.program(64, Path::new("sleep"), &["600"]);
    let mut other = other.spawn().unwrap();
    let is_asleep = |child: &Child| {
        fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() == "sleep\n"
    };
    while !is_asleep(&other) {
        sleep(Duration::from_millis(1));
    }
    assert_eq!(owner(other.id()), user.id, "an ordinary process is open");
    kill(&mut other);

    let mut arguments = user.bundling(&image, &destination);
    arguments.push("--threads=1".to_owned());
    let mut command = user.command(64, "ec2-bundle-image", &arguments);
    let mut running = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until(&mut running, "it had begun", || has_begun(&destination));
    let id = running.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let sweepers: Vec<u32> = children
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect();
    assert_eq!(sweepers.len(), 1);
    assert_eq!(owner(id), 0);
    // The sweeper reads no key, and may have been started only a moment ago.
    wait_until(&mut running, "its sweeper was closed", || {
        owner(sweepers[0]) == 0
    });

    // The sweeper of an ordinary user works too.
    kill(&mut running);
    while !names(&destination).is_empty() {
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn finding_19_core_dumps_are_off_before_the_first_key_is_read() {
    let work = folder();
    let image = work.path().join("image");
    fs::write(&image, "image").unwrap();
    let bundled = work.path().join("bundled");
    fs::create_dir(&bundled).unwrap();
    let trace = work.path().join("trace");
    let traced = |name: &str, arguments: &[&OsStr]| {
        let mut command = Command::new("strace");
        let _ = isolate(&mut command)
            .args(["-e", "trace=prctl,openat", "-o"])
            .arg(&trace)
            .arg(command_path(name))
            .args(arguments);
        let result = outcome(&mut command);
        assert_eq!(result.code, 0, "{}", result.stderr);
        let lines = fs::read_to_string(&trace).unwrap();
        let first = |what: &str| {
            lines
                .find(what)
                .unwrap_or_else(|| panic!("{what}: {lines}"))
        };
        let off = first("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0");
        assert!(off < first("user2048.key"), "{lines}");
    };
    let arguments = bundling(&image, &bundled);
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    traced("ec2-bundle-image", &arguments);
    let arguments = unbundling(&bundled.join("image.manifest.xml"), work.path());
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    traced("ec2-unbundle", &arguments);
    traced("ec2-verify-bundle", &arguments[..4]);
}

/// Runs one of the suite's commands that may write no file larger than a megabyte.
fn with_small_files<S: AsRef<OsStr>>(name: &str, arguments: &[S]) -> Outcome {
    let mut command = Command::new("prlimit");
    let _ = isolate(&mut command)
        .arg("--fsize=1000000")
        .arg(command_path(name))
        .args(arguments);
    outcome(&mut command)
}

#[test]
fn finding_20_a_limit_of_file_sizes_is_an_error_that_leaves_nothing() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 12 << 20);
    let bundled = folder();
    let result = with_small_files("ec2-bundle-image", &bundling(&image, bundled.path()));
    assert_eq!(result.code, 1);
    assert!(
        result.stderr.ends_with(": File too large (os error 27)\n"),
        "{}",
        result.stderr
    );
    assert_eq!(result.stderr.matches('\n').count(), 1);
    assert_eq!(names(bundled.path()), [""; 0]);

    let manifest = bundle(&image, bundled.path(), &[]);
    let unbundled = folder();
    let result = with_small_files("ec2-unbundle", &unbundling(&manifest, unbundled.path()));
    assert_eq!(result.code, 254);
    assert!(
        result.stderr.ends_with(": File too large (os error 27)\n"),
        "{}",
        result.stderr
    );
    assert_eq!(names(unbundled.path()), [""; 0]);
}

/// What a manifest lacks, and the warning about it.
const LACKING: &[(&str, &str)] = &[
    ("missing-bundler", "the element bundler is missing"),
    (
        "missing-machine_configuration",
        "the element machine_configuration is missing",
    ),
    ("missing-user", "the element image/user is missing"),
    ("missing-type", "the element image/type is missing"),
    ("missing-size", "the element image/size is missing"),
    (
        "missing-bundled_size",
        "the element image/bundled_size is missing",
    ),
    (
        "missing-ec2_encrypted_key",
        "the element image/ec2_encrypted_key is missing",
    ),
    (
        "missing-ec2_encrypted_iv",
        "the element image/ec2_encrypted_iv is missing",
    ),
    (
        "other-root",
        "it is not a manifest: its root element is \"manifesto\"",
    ),
    ("missing-name", "the element image/name is missing"),
];

#[test]
fn finding_25g_bundles_whose_manifests_lack_what_is_not_needed_come_out() {
    let work = folder();
    let source = golden("bundles/a-raw64k");
    let _ = fs::copy(
        source.join("image.img.part.0"),
        work.path().join("image.img.part.0"),
    )
    .unwrap();
    let whole = folder();
    let result = run_to_end(
        "ec2-unbundle",
        &unbundling(&source.join("image.img.manifest.xml"), whole.path()),
    );
    assert_eq!(result.code, 0);
    let image = fs::read(whole.path().join("image.img")).unwrap();
    for (name, lack) in LACKING {
        let manifest = work.path().join("image.img.manifest.xml");
        let variant = golden(&format!("bundles/manifest-variants/{name}.xml"));
        let _ = fs::copy(variant, &manifest).unwrap();
        let warning = format!(
            "The manifest {} is incomplete: {lack}.\n",
            manifest.display()
        );
        let unbundled = folder();
        let result = run_to_end("ec2-unbundle", &unbundling(&manifest, unbundled.path()));
        let told = (result.code, result.stderr.as_str());
        assert_eq!(told, (0, warning.as_str()), "{name}");
        let out = fs::read(unbundled.path().join("image.img")).unwrap();
        assert_eq!(sha1(&out), sha1(&image), "{name}");

        let verifying = ["-m".into(), manifest, "-k".into(), key("user2048.key")];
        let result = run_to_end("ec2-verify-bundle", &verifying);
        if *name == "missing-name" {
            assert_eq!((result.code, result.stderr.as_str()), (254, ""));
            assert!(result.stdout.contains(lack), "{}", result.stdout);
        } else {
            let told = (result.code, result.stderr.as_str());
            assert_eq!(told, (0, warning.as_str()), "{name}");
            assert!(!result.stdout.contains("FAILED"), "{}", result.stdout);
        }
    }
}

#[test]
fn finding_25g_a_bundle_is_deleted_by_a_manifest_that_lacks_what_is_not_needed() {
    let server = Server::start();
    let bucket = server.bucket(BUCKET);
    let work = folder();
    let manifest = work.path().join("image.img.manifest.xml");
    let (url, path) = (server.url(), manifest.to_str().unwrap());
    for (name, lack) in LACKING {
        let variant = golden(&format!("bundles/manifest-variants/{name}.xml"));
        let _ = fs::copy(variant, &manifest).unwrap();
        for file in ["image.img.manifest.xml", "image.img.part.0"] {
            fs::write(bucket.join(file), "there").unwrap();
        }
        let result = outcome(&mut with_keys(
            "ec2-delete-bundle",
            &url,
            &["-m", path, "-y"],
        ));
        let stays = bucket.join("image.img.part.0").exists();
        if *name == "missing-name" {
            assert_eq!((result.code, stays), (254, true), "{}", result.stderr);
        } else {
            let warning = format!("The manifest {path} is incomplete: {lack}.\n");
            let told = (result.code, result.stderr, stays);
            assert_eq!(told, (0, warning, false), "{name}");
        }
    }
}

#[test]
fn finding_25h_blank_names_and_architectures_are_refused() {
    let work = folder();
    let image = work.path().join("image");
    fs::write(&image, "image").unwrap();
    let destination = folder();
    for (option, value) in [
        ("-p", " "),
        ("-p", "\u{a0}"),
        ("-p", " image"),
        ("-r", " "),
        ("-r", "\u{a0}"),
    ] {
        let mut arguments = bundling(&image, destination.path());
        arguments.extend([option.to_owned(), value.to_owned()]);
        let result = run_to_end("ec2-bundle-image", &arguments);
        assert_eq!(result.code, 1, "{option} {value:?}: {}", result.stderr);
        assert_eq!(names(destination.path()), [""; 0]);
    }
}

/// What one of the suite's commands prints on a terminal.
fn on_terminal(mut command: Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut terminal = Command::new("script");
    let _ = isolate(&mut terminal)
        .args(["-qec", &line.join(" "), "/dev/null"])
        .env("TERM", "xterm")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .stdin(Stdio::null());
    let _ = command.stdin(Stdio::null());
    let result = outcome(&mut terminal);
    assert_eq!(result.code, 0, "{}", result.stdout);
    result.stdout
}

#[test]
fn finding_25n_status_lines_begin_lines_on_a_terminal_too() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 25 << 20);
    let manifest = bundle(&image, work.path(), &[]);
    let unbundled = folder();
    let mut arguments = unbundling(&manifest, unbundled.path());
    let shown = on_terminal(command("ec2-unbundle", &arguments));
    assert!(shown.contains("% "), "there is a bar: {shown:?}");
    assert!(shown.ends_with("\nUnbundle complete.\r\n"), "{shown:?}");
    arguments.push("--batch".into());
    let shown = on_terminal(command("ec2-unbundle", &arguments));
    assert_eq!(shown, "Unbundle complete.\r\n");

    let server = Server::start();
    let _ = server.bucket(BUCKET);
    let manifest = small_parts().join("image.manifest.xml");
    let manifest = manifest.to_str().unwrap();
    let url = server.url();
    let mut arguments = vec!["-b", BUCKET, "--url", &url, "-m", manifest];
    let shown = on_terminal(command("ec2-upload-bundle", &arguments));
    assert!(shown.contains("of 12 files"), "there is a bar: {shown:?}");
    let uploaded = shown.lines().filter(|line| line.starts_with("Uploaded "));
    assert_eq!(
        uploaded.count(),
        13,
        "the parts and the manifest: {shown:?}"
    );
    arguments.push("--batch");
    let shown = on_terminal(command("ec2-upload-bundle", &arguments));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

/// tokio panics if it gets no descriptors. Begins with just enough to load the program.
#[test]
fn finding_11_few_descriptors_are_an_error_in_one_line() {
    let mut had_too_few = 0;
    for limit in 4..40 {
        let mut command = Command::new("timeout");
        let _ = isolate(&mut command)
            .args(["--kill-after=1", HANG, "prlimit"])
            .arg(format!("--nofile={limit}"))
            .arg(command_path("ec2-delete-bundle"))
            .args([
                "-b",
                "bundles.test",
                "-p",
                "image",
                "-y",
                "-a",
                "x",
                "-s",
                "y",
            ])
            .args(["--url", "http://127.0.0.1:9"]);
        let result = outcome(&mut command);
        let errors = result
            .stderr
            .lines()
            .filter(|line| line.starts_with("ERROR: "));
        assert!(
            [3, 254].contains(&result.code) && errors.count() == 1,
            "{limit}: {result:?}"
        );
        had_too_few += usize::from(
            result
                .stderr
                .contains("ERROR: the network cannot be used: "),
        );
    }
    assert!(had_too_few > 0);
}
