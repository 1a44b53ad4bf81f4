//! The results of `make dist`: binaries that need only an old C library, and packages whose commands all work in a new Debian. `make
//! test-dist` runs these tests, which need root and the Debian of `scripts/dist-root`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::ebs::{ACCESS_KEY, EbsServer, SECRET_KEY, Settings};
use end_to_end::images::sparse;
use end_to_end::moto::Moto;
use end_to_end::mounts::Mount;
use end_to_end::volumes::fill;
use end_to_end::{Outcome, cache, folder, isolate, key, names, outcome, shell, shell_with_path};

const COMMANDS: [&str; 12] = [
    "ec2-ami",
    "ec2-ami-tools-version",
    "ec2-bundle-image",
    "ec2-bundle-vol",
    "ec2-create-signing-cert",
    "ec2-delete-bundle",
    "ec2-download-bundle",
    "ec2-migrate-bundle",
    "ec2-migrate-manifest",
    "ec2-unbundle",
    "ec2-upload-bundle",
    "ec2-verify-bundle",
];

/// The commands without an AWS SDK, and their size limit in bytes.
const SMALL: [&str; 5] = [
    "ec2-ami-tools-version",
    "ec2-bundle-image",
    "ec2-create-signing-cert",
    "ec2-unbundle",
    "ec2-verify-bundle",
];
const SMALL_SIZE: u64 = 6_000_000;

/// The oldest supported C library, that of Amazon Linux 1, RHEL 7 and Ubuntu 14.04.
const GLIBC: (u32, u32) = (2, 17);

/// The libraries that are part of every C library since then.
const LIBRARIES: [&str; 6] = [
    "libc.so.6",
    "ld-linux-x86-64.so.2",
    "libpthread.so.0",
    "libdl.so.2",
    "libm.so.6",
    "librt.so.1",
];

fn dist() -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    assert!(dist.join("SHA256SUMS").is_file(), "run make test-dist");
    fs::canonicalize(dist).unwrap()
}

fn package(end: &str) -> PathBuf {
    let all = names(&dist());
    let mut found = all.iter().filter(|name| name.ends_with(end));
    let name = found
        .next()
        .unwrap_or_else(|| panic!("no {end} in {all:?}"));
    assert_eq!(found.next(), None);
    dist().join(name)
}

/// Unpacks the archive, and returns its only folder.
fn unpacked(to: &Path) -> PathBuf {
    let _ = shell(&format!("tar -xf '{}'", package(".tar.gz").display()), to);
    let [name] = &names(to)[..] else {
        panic!("more than one folder")
    };
    to.join(name)
}

#[test]
#[ignore = "make test-dist runs it"]
fn the_sums_are_those_of_all_files() {
    let checked = shell("sha256sum --check --strict SHA256SUMS", &dist());
    assert_eq!(checked.lines().count(), 3, "{checked}");
    assert_eq!(names(&dist()).len(), 4);
}

#[test]
#[ignore = "make test-dist runs it"]
fn binaries_need_nothing_but_an_old_c_library() {
    let work = folder();
    let bin = unpacked(work.path()).join("bin");
    assert_eq!(names(&bin), COMMANDS);
    for name in COMMANDS {
        let needs = shell(
            &format!("objdump -p {name} | awk '/NEEDED/ {{ print $2 }}'"),
            &bin,
        );
        for library in needs.lines() {
            assert!(LIBRARIES.contains(&library), "{name} needs {library}");
        }
        let versions = shell(
            &format!("objdump -T {name} | grep -o 'GLIBC_[0-9.]*' | sort -u"),
            &bin,
        );
        assert!(versions.lines().count() > 1, "{name}: {versions}");
        for version in versions.lines() {
            let mut numbers = version
                .trim_start_matches("GLIBC_")
                .split('.')
                .map(|number| number.parse::<u32>().unwrap());
            let version = (numbers.next().unwrap(), numbers.next().unwrap());
            assert!(version <= GLIBC, "{name} needs glibc {version:?}");
        }
        let size = fs::metadata(bin.join(name)).unwrap().len();
        assert!(
            !SMALL.contains(&name) || size < SMALL_SIZE,
            "{name}: {size}"
        );
    }
}

#[test]
#[ignore = "make test-dist runs it"]
fn the_rpm_has_the_same_and_replaces_the_older_packages() {
    let rpm = package(".rpm");
    let ask = |what: &str| {
        let mut rpm_command = Command::new("rpm");
        let asked = rpm_command.args(["-qp", what]).arg(&rpm);
        let result = outcome(asked);
        assert_eq!(result.code, 0, "{}", result.stderr);
        result.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let files = ask("-l");
    for name in COMMANDS {
        for path in [
            format!("/usr/bin/{name}"),
            format!("/usr/share/man/man1/{name}.1"),
            format!("/usr/share/bash-completion/completions/{name}"),
            format!("/usr/share/zsh/site-functions/_{name}"),
            format!("/usr/share/fish/vendor_completions.d/{name}.fish"),
        ] {
            assert!(files.contains(&path), "{path} is not in {files:?}");
        }
    }
    assert!(files.contains(&"/usr/share/ec2-ami-tools/fetch-ec2-certificates".to_owned()));
    let has = |what: &str, line: &str| {
        let lines = ask(what);
        assert!(lines.iter().any(|found| found == line), "{what}: {lines:?}");
    };
    has("--provides", "ec2-ami-tools = 1.5.7");
    has("--provides", "aws-amitools-ec2 = 1.5.7");
    has("--obsoletes", "aws-amitools-ec2 <= 1.5.99");
    has("--requires", "glibc >= 2.17");
}

/// A minimal Debian in which only the package is installed.
struct Debian {
    root: tempfile::TempDir,
}

impl Debian {
    fn new() -> Self {
        let original = cache().join("dist-root");
        assert!(
            original.is_dir(),
            "run scripts/dist-root, or make test-dist"
        );
        let root = folder();
        let script = format!("cp -a '{}/.' .; mkdir work", original.display());
        let _ = shell(&script, root.path());
        let debian = Self { root };
        // The root directory must be a mount point, as on every system.
        let _ = shell("mount --bind . .", debian.root.path());
        let deb = debian.path("/package.deb");
        let _ = fs::copy(package(".deb"), deb).unwrap();
        for (kind, at) in [
            ("--bind /dev", "dev"),
            ("-t proc proc", "proc"),
            ("-t sysfs sysfs", "sys"),
        ] {
            let _ = shell(&format!("mount {kind} {at}"), debian.root.path());
        }
        let installed = debian.run(&["dpkg", "-i", "/package.deb"]);
        assert_eq!(installed.code, 0, "{installed:?}");
        debian
    }

    /// The path on this machine of a path in it.
    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    fn run(&self, words: &[&str]) -> Outcome {
        self.run_with(words, &[])
    }

    fn run_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let mut chroot = Command::new("chroot");
        let _ = isolate(&mut chroot)
            .arg(self.root.path())
            .args(words)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TMPDIR", "/tmp")
            .envs(variables.iter().copied());
        outcome(&mut chroot)
    }

    fn ok(&self, words: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let result = self.run_with(words, variables);
        assert_eq!(result.code, 0, "{words:?}: {result:?}");
        result
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let root = self.root.path().display();
        for at in ["work/volume", "sys", "proc", "dev", "."] {
            let script = format!("if mountpoint -q '{root}/{at}'; then umount '{root}/{at}'; fi");
            let _ = shell(&script, Path::new("/"));
        }
    }
}

#[test]
#[ignore = "make test-dist runs it"]
fn all_commands_work_from_the_package_in_a_new_debian() {
    let debian = Debian::new();
    let status = debian.ok(
        &[
            "dpkg-query",
            "-W",
            "-f",
            "${Provides}|${Replaces}|${Depends}",
            "ec2-ami-tools-rs",
        ],
        &[],
    );
    assert_eq!(
        status.stdout,
        "ec2-ami-tools (= 1.5.7)|ec2-ami-tools|libc6 (>= 2.17)"
    );
    for name in COMMANDS {
        let help = debian.ok(&[name, "--help"], &[]);
        assert!(!help.stdout.is_empty(), "{name}");
        assert_eq!(help.stderr, "");
        assert!(
            debian
                .path(&format!("/usr/share/man/man1/{name}.1.gz"))
                .is_file()
        );
        assert!(
            debian
                .path(&format!("/usr/share/bash-completion/completions/{name}"))
                .is_file()
        );
    }

    // A key, an image, a bundle of it and back.
    let made = debian.ok(
        &["ec2-create-signing-cert", "-d", "/work", "--cn", "me"],
        &[],
    );
    assert!(made.stdout.contains("/work/pk-me.pem"));
    let _ = fs::copy(key("ec2.crt"), debian.path("/work/ec2.pem")).unwrap();
    sparse(
        &debian.path("/work/disk"),
        40 << 20,
        &[(0, 5 << 20), (20 << 20, 9 << 20)],
    );
    for folder in ["bundle", "fetched", "back", "volume", "from-volume"] {
        fs::create_dir(debian.path(&format!("/work/{folder}"))).unwrap();
    }
    let identity = ["-k", "/work/pk-me.pem", "-c", "/work/cert-me.pem"];
    let bundler = [
        "--ec2cert",
        "/work/ec2.pem",
        "-u",
        "123456789012",
        "-r",
        "x86_64",
        "--batch",
    ];
    let bundle = [
        "ec2-bundle-image",
        "-i",
        "/work/disk",
        "-d",
        "/work/bundle",
        "--kernel",
        "aki-1",
    ];
    let _ = debian.ok(&[&bundle[..], &identity, &bundler].concat(), &[]);

    let moto = Moto::start();
    let url = moto.url();
    let keys = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
    ];
    let manifest = "/work/bundle/disk.manifest.xml";
    let _ = debian.ok(
        &[
            "ec2-upload-bundle",
            "-b",
            "one/a",
            "-m",
            manifest,
            "--batch",
        ],
        &keys,
    );
    let migrate = [
        "ec2-migrate-bundle",
        "-b",
        "one/a",
        "-d",
        "two/b",
        "-m",
        "disk.manifest.xml",
        "--no-mapping",
    ];
    let _ = debian.ok(&[&migrate[..], &identity].concat(), &keys);
    let download = [
        "ec2-download-bundle",
        "-b",
        "two/b",
        "-p",
        "disk",
        "-d",
        "/work/fetched",
        "-k",
        "/work/pk-me.pem",
    ];
    let _ = debian.ok(&download, &keys);
    let delete = [
        "ec2-delete-bundle",
        "-b",
        "one/a",
        "-p",
        "disk",
        "-y",
        "--clear",
    ];
    let _ = debian.ok(&delete, &keys);

    let fetched = "/work/fetched/disk.manifest.xml";
    let migrate = [
        "ec2-migrate-manifest",
        "-m",
        fetched,
        "--region",
        "eu-west-1",
        "--kernel",
        "aki-2",
        "--no-mapping",
    ];
    let _ = debian.ok(&[&migrate[..], &identity].concat(), &[]);
    let verify = ["ec2-verify-bundle", "-m", fetched];
    let _ = debian.ok(&[&verify[..], &identity].concat(), &[]);
    let unbundle = [
        "ec2-unbundle",
        "-m",
        fetched,
        "-s",
        "/work/fetched",
        "-d",
        "/work/back",
        "-k",
        "/work/pk-me.pem",
    ];
    let _ = debian.ok(&unbundle, &[]);
    let _ = shell("cmp disk back/disk", &debian.path("/work"));

    // A volume; every Debian has mke2fs.
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    fill(&volume.path());
    let at = debian.path("/work/volume");
    let script = format!(
        "mount --bind '{}' '{}'",
        volume.path().display(),
        at.display()
    );
    let _ = shell(&script, Path::new("/"));
    let bundle = [
        "ec2-bundle-vol",
        "-v",
        "/work/volume",
        "-d",
        "/work/from-volume",
        "-s",
        "128",
        "-P",
        "none",
        "--no-inherit",
    ];
    let _ = debian.ok(&[&bundle[..], &identity, &bundler].concat(), &[]);
    let verify = [
        "ec2-verify-bundle",
        "-m",
        "/work/from-volume/image.manifest.xml",
    ];
    let _ = debian.ok(&[&verify[..], &identity].concat(), &[]);
    let checked = shell_with_path("e2fsck -fn image", &debian.path("/work/from-volume"));
    assert!(checked.contains("files"), "{checked}");

    // An AMI of the image, and back.
    let server = EbsServer::start(Settings::default());
    let url = server.url();
    let keys = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("HOME", "/work"),
    ];
    let create = ["ec2-ami", "create", "/work/disk", "--name", "my-image"];
    let arch = ["--arch", "x86_64"];
    let _ = debian.ok(&[&create[..], &arch].concat(), &keys);
    let image = &server.images()[0].id;
    let _ = debian.ok(&["ec2-ami", "fetch", image, "/work/disk-of-ami"], &keys);
    let script =
        "test $(stat -c %s disk-of-ami) = $((1 << 30)); cmp -n $(stat -c %s disk) disk disk-of-ami";
    let _ = shell(script, &debian.path("/work"));
    let _ = debian.ok(&["ec2-ami", "delete", image, "--yes"], &keys);
    assert_eq!((server.images().len(), server.snapshots().len()), (0, 0));

    let removed = debian.run(&["dpkg", "-r", "ec2-ami-tools-rs"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(!debian.path("/usr/bin/ec2-bundle-vol").exists());
}
