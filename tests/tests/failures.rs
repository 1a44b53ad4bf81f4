//! Failures and interruptions: a clear error, nothing left behind, an older bundle untouched.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use end_to_end::images::{incompressible, sparse};
use end_to_end::mounts::Mount;
use end_to_end::same::{assert_same_bytes, assert_same_files};
use end_to_end::{
    bundle, bundling, command, contents, folder, has_begun, key, names, run, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

fn unbundling(manifest: &Path, destination: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    [
        "-k",
        &path(&key("user2048.key")),
        "-m",
        &path(manifest),
        "-s",
        &path(manifest.parent().unwrap()),
        "-d",
        &path(destination),
    ]
    .map(str::to_owned)
    .into()
}

/// A command that takes a while: one thread, and for bundling the slowest level.
fn slow(name: &str, mut arguments: Vec<String>) -> Child {
    arguments.extend(["--threads", "1"].map(str::to_owned));
    if name == "ec2-bundle-image" {
        arguments.extend(["--compression-level", "12"].map(str::to_owned));
    }
    command(name, &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn an_image_that_changes_while_it_is_read_is_no_bundle() {
    let work = folder();
    let image = work.path().join("image");
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("it became smaller", |image| {
            File::options()
                .write(true)
                .open(image)
                .unwrap()
                .set_len(1000)
                .unwrap();
        }),
        ("its size is another", |image| {
            File::options()
                .write(true)
                .open(image)
                .unwrap()
                .set_len(1 << 30)
                .unwrap();
        }),
        ("it was written to", |image| {
            let file = File::options().write(true).open(image).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 5).unwrap();
        }),
    ];
    for (what, change) in changes {
        incompressible(&image, 80 << 20);
        let destination = folder();
        let mut child = slow("ec2-bundle-image", bundling(&image, destination.path()));
        wait_until(&mut child, "it began", || has_begun(destination.path()));
        change(&image);
        let (code, stderr) = ended(child);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.starts_with(&format!(
                "ERROR: the image {} changed while it was read (",
                image.display()
            )) && stderr.contains(what),
            "{stderr}"
        );
        assert!(names(destination.path()).is_empty());
    }
}

#[test]
fn a_destination_that_fills_up_keeps_the_older_bundle_and_nothing_else() {
    let work = folder();
    let image = work.path().join("image");
    let small = Mount::new("40M", "mkfs.ext4 -q");
    let destination = small.path();
    let old = work.path().join("old");
    sparse(&old, 100_000, &[(0, 100_000)]);
    let _ = bundle(&old, &destination, &["-p", "image"]);
    let before = contents_of_files(&destination);

    incompressible(&image, 60 << 20);
    let mut arguments = bundling(&image, &destination);
    let checked = run("ec2-bundle-image", &arguments);
    assert_eq!(checked.code, 254);
    assert!(
        checked
            .stderr
            .starts_with("ERROR: there may be too little space in "),
        "{}",
        checked.stderr
    );
    assert!(
        checked.stderr.trim_end().ends_with("--no-size-checks"),
        "{}",
        checked.stderr
    );
    assert_same_files(&contents_of_files(&destination), &before);

    arguments.push("--no-size-checks".to_owned());
    let tried = run("ec2-bundle-image", &arguments);
    assert_eq!(tried.code, 1);
    assert!(
        tried.stderr.starts_with("ERROR: no space left for "),
        "{}",
        tried.stderr
    );
    assert_same_files(&contents_of_files(&destination), &before);

    // The same for unbundling.
    let bundled = folder();
    let manifest = bundle(&image, bundled.path(), &[]);
    let result = run("ec2-unbundle", &unbundling(&manifest, &destination));
    assert_eq!(result.code, 254);
    assert!(
        result.stderr.starts_with("ERROR: no space left for "),
        "{}",
        result.stderr
    );
    assert_same_files(&contents_of_files(&destination), &before);
}

/// The contents of a folder without `lost+found`, which a new ext4 file system has.
fn contents_of_files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let lost = folder.join("lost+found");
    if lost.is_dir() {
        fs::remove_dir(lost).unwrap();
    }
    contents(folder)
}

#[test]
fn sigint_and_sigterm_end_with_255_and_leave_nothing() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 60 << 20);
    let bundled = folder();
    let manifest = bundle(&image, bundled.path(), &[]);
    let destination = folder();
    let old = work.path().join("old");
    sparse(&old, 100_000, &[(0, 100_000)]);
    let _ = bundle(&old, destination.path(), &["-p", "image"]);
    let before = contents(destination.path());
    for signal in [Signal::INT, Signal::TERM] {
        for (name, arguments) in [
            ("ec2-bundle-image", bundling(&image, destination.path())),
            ("ec2-unbundle", unbundling(&manifest, destination.path())),
        ] {
            let mut child = slow(name, arguments);
            wait_until(&mut child, "it began", || has_begun(destination.path()));
            send(&child, signal);
            let (code, stderr) = ended(child);
            assert_eq!(
                (code, stderr),
                (Some(255), format!("{name} interrupted.\n"))
            );
            assert_same_files(&contents(destination.path()), &before);
        }
    }
}

#[test]
fn a_signal_ends_a_question_too() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 5000, &[(0, 5000)]);
    let mut arguments = bundling(&image, work.path());
    arguments.retain(|word| word != "-r" && word != "x86_64" && word != "--batch");
    let mut child = command("ec2-bundle-image", &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut question = [0; 42];
    let stdout = child.stdout.as_mut().unwrap();
    std::io::Read::read_exact(stdout, &mut question).unwrap();
    assert_eq!(&question, b"Please specify a value for arch [x86_64]: ");
    send(&child, Signal::INT);
    assert_eq!(
        ended(child),
        (Some(255), "ec2-bundle-image interrupted.\n".to_owned())
    );
    assert_eq!(names(work.path()), ["image"]);
}

/// Kills both commands at various moments. What is left cannot be mistaken for a result, and the next run removes it.
#[test]
fn after_kill_9_nothing_looks_like_a_part_or_an_image() {
    let work = folder();
    let image = work.path().join("image");
    incompressible(&image, 25 << 20);
    let bundled = folder();
    let manifest = bundle(&image, bundled.path(), &[]);
    let tiny = work.path().join("tiny");
    sparse(&tiny, 5000, &[(0, 5000)]);
    let mut killed = 0;
    for round in 0..30u64 {
        let destination = folder();
        let (name, arguments) = if round % 2 == 0 {
            ("ec2-bundle-image", bundling(&image, destination.path()))
        } else {
            ("ec2-unbundle", unbundling(&manifest, destination.path()))
        };
        let mut child = command(name, &arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the command's run time; the exact moments do not matter.
        sleep(Duration::from_millis(round * 7));
        let _ = child.kill();
        if child.wait().unwrap().success() {
            continue;
        }
        killed += 1;
        let left = names(destination.path());
        let whole_bundle = left.iter().any(|name| name == "image.manifest.xml");
        let whole_image = name == "ec2-unbundle" && left.iter().any(|name| name == "image");
        if !whole_bundle && !whole_image {
            let odd: Vec<_> = left
                .iter()
                .filter(|name| !name.starts_with(".ec2-ami-tools"))
                .collect();
            assert!(odd.is_empty(), "{odd:?}");
        }
        let _ = bundle(&tiny, destination.path(), &[]);
        let left = names(destination.path());
        assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
        assert!(left.contains(&"tiny.manifest.xml".to_owned()));
    }
    assert!(
        killed >= 10,
        "only {killed} runs were killed before their end"
    );
}

#[test]
fn two_runs_at_once_in_one_folder_do_not_disturb_each_other() {
    let work = folder();
    let destination = folder();
    let images: Vec<_> = ["one", "two"].map(|name| work.path().join(name)).into();
    for image in &images {
        incompressible(image, 30 << 20);
    }
    let children: Vec<_> = images
        .iter()
        .map(|image| slow("ec2-bundle-image", bundling(image, destination.path())))
        .collect();
    for child in children {
        assert_eq!(ended(child), (Some(0), String::new()));
    }
    for image in &images {
        let name = image.file_name().unwrap().to_str().unwrap();
        let manifest = destination.path().join(format!("{name}.manifest.xml"));
        let unbundled = folder();
        let result = run("ec2-unbundle", &unbundling(&manifest, unbundled.path()));
        assert_eq!(result.code, 0, "{}", result.stderr);
        assert_same_bytes(
            &fs::read(unbundled.path().join(name)).unwrap(),
            &fs::read(image).unwrap(),
        );
    }
    assert_eq!(names(destination.path()).len(), 2 + 8);
}

/// Everything that can be known in advance is reported before the image is read: here reading would fail, and that is never reported.
#[test]
fn what_is_wrong_with_keys_and_options_is_said_before_the_image_is_read() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 5000, &[(0, 5000)]);
    let destination = folder();
    let with = |option: &str, value: &str| {
        let mut arguments = bundling(&image, destination.path());
        arguments.extend([option.to_owned(), value.to_owned()]);
        arguments
    };
    let file = |name: &str| key(name).to_str().unwrap().to_owned();
    let table = [
        (
            "-k",
            file("garbage.pem"),
            254,
            "it holds no private key in PEM or DER form",
        ),
        (
            "-k",
            file("encrypted-pkcs1.key"),
            254,
            "it is locked with a passphrase; unlock it with: openssl rsa -in LOCKED -out UNLOCKED",
        ),
        (
            "-k",
            file("encrypted-pkcs8.key"),
            254,
            "it is locked with a passphrase; unlock it with: openssl rsa -in LOCKED -out UNLOCKED",
        ),
        (
            "-k",
            file("ecdsa.key"),
            254,
            "it is not an RSA key: bundles can only be made with RSA keys",
        ),
        ("-k", file("other.key"), 254, "EC2 would refuse the bundle"),
        (
            "-c",
            file("ecdsa.crt"),
            254,
            "it is not an RSA key: bundles can only be made with RSA keys",
        ),
        (
            "-c",
            file("user2048.key"),
            254,
            "it holds a private key, not a certificate",
        ),
        ("--ec2cert", file("empty.pem"), 254, "it is empty"),
        (
            "--kernel",
            "aki\u{1b}".to_owned(),
            254,
            "which a manifest cannot",
        ),
        (
            "-p",
            "..".to_owned(),
            1,
            "it is that of a folder; choose one with --prefix\nTry 'ec2-bundle-image --help'",
        ),
        (
            "--threads",
            "0".to_owned(),
            1,
            "Try 'ec2-bundle-image --help'",
        ),
        (
            "--compression-level",
            "13".to_owned(),
            1,
            "Try 'ec2-bundle-image --help'",
        ),
    ];
    for (option, value, code, end) in table {
        let result = run("ec2-bundle-image", &with(option, &value));
        assert_eq!(result.code, code, "{option} {value}");
        assert!(
            result.stderr.trim_end().ends_with(end),
            "{option} {value}: {}",
            result.stderr
        );
        assert!(!result.stdout.contains("Splitting"));
        assert!(names(destination.path()).is_empty());
    }
    fs::create_dir(destination.path().join("image.part.3")).unwrap();
    let result = run("ec2-bundle-image", &bundling(&image, destination.path()));
    assert_eq!(result.code, 1);
    assert!(
        result.stderr.contains("image.part.3 is in the way"),
        "{}",
        result.stderr
    );
    assert_eq!(names(destination.path()), ["image.part.3"]);
}

#[test]
fn ec2s_certificate_is_found_or_the_error_says_how_to_get_it() {
    let work = folder();
    let image = work.path().join("image");
    sparse(&image, 5000, &[(0, 5000)]);
    let home = work.path().join("home/etc/ec2/amitools");
    fs::create_dir_all(&home).unwrap();
    let mut arguments = bundling(&image, work.path());
    let at = arguments
        .iter()
        .position(|word| word == "--ec2cert")
        .unwrap();
    let _ = arguments.drain(at..at + 2);
    arguments.extend(["--region", "us-gov-west-1"].map(str::to_owned));
    let with_home = || {
        let mut command = command("ec2-bundle-image", &arguments);
        let _ = command.env("EC2_HOME", work.path().join("home"));
        end_to_end::outcome(&mut command)
    };
    let result = with_home();
    assert_eq!(result.code, 2);
    assert_eq!(
        result.stderr,
        format!(
            "ERROR: EC2's certificate cert-ec2-gov.pem was not found; looked in {}, /etc/ec2/amitools, \
             /opt/aws/amitools/ec2/etc/ec2/amitools, and EC2 in us-gov-west-1 reads no bundle for another certificate: get it with fetch-ec2-certificates (in share/ec2-ami-tools where this is installed), or give one with --ec2cert\n",
            home.display()
        )
    );
    let _ = fs::copy(key("ec2.crt"), home.join("cert-ec2-gov.pem")).unwrap();
    assert_eq!(with_home().code, 0);
}

#[test]
fn what_a_bundle_is_made_of_is_not_replaced_by_it() {
    let work = folder();
    let image = work.path().join("disk.part.7");
    sparse(&image, 5000, &[(0, 5000)]);
    let mut arguments = bundling(&image, work.path());
    arguments.extend(["-p", "disk"].map(str::to_owned));
    let result = run("ec2-bundle-image", &arguments);
    assert_eq!(result.code, 254);
    assert_eq!(
        result.stderr,
        format!(
            "ERROR: {} has the name of one of the bundle's own files, which would replace it; \
             choose another --prefix or --destination\n",
            image.display()
        )
    );
    assert_eq!(names(work.path()), ["disk.part.7"]);

    // The image's name comes from the bundle.
    let destination = folder();
    let private_key = destination.path().join("image");
    let _ = fs::copy(key("user2048.key"), &private_key).unwrap();
    let manifest = bundle(&image, destination.path(), &["-p", "image"]);
    let mut arguments = unbundling(&manifest, destination.path());
    arguments[1] = private_key.to_str().unwrap().to_owned();
    let before = contents(destination.path());
    let result = run("ec2-unbundle", &arguments);
    assert_eq!(result.code, 254);
    assert!(
        result.stderr.contains("which it is made from"),
        "{}",
        result.stderr
    );
    assert_same_files(&contents(destination.path()), &before);
}
