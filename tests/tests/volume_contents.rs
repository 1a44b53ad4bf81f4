//! What `ec2-bundle-vol` copies from a volume, what it leaves out, and what it reports about that. Needs root.

use std::fs;
use std::process::Command;

use end_to_end::mounts::Mount;
use end_to_end::volumes::fill;
use end_to_end::{
    bundling_volume, clone_volume, command_path, folder, names, outcome, run, shell, text,
};

#[test]
fn mounts_below_the_volume_are_copied_if_they_are_local() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let local = Mount::new("8M", "mke2fs -q -F -t ext3");
    let root = volume.path();
    fill(&root);
    let _ = shell(
        &format!(
            "mkdir srv opt; echo hidden > srv/hidden; mount --bind '{}' srv; echo seen > srv/seen; mkdir srv/deeper; mount -t tmpfs none srv/deeper
             echo t > srv/deeper/t; mount -t tmpfs none run; echo t > run/t; mkdir -p opt/proc; mount -t proc none opt/proc",
            local.path().display()
        ),
        &root,
    );
    let destination = folder();
    let result = clone_volume(&root, destination.path(), &["--no-filter"]);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    for path in ["/opt/proc", "/run", "/srv/deeper"] {
        assert!(
            result.stdout.contains(&format!("\t {path}\n")),
            "{}",
            result.stdout
        );
    }
    let image = Mount::of_image(&destination.path().join("image"), 0, "");
    let at = image.path();
    assert_eq!(names(&at.join("srv")), ["deeper", "lost+found", "seen"]);
    assert_eq!(
        [
            names(&at.join("srv/deeper")),
            names(&at.join("run")),
            names(&at.join("opt/proc"))
        ],
        [[""; 0]; 3]
    );
    drop(image);
    let result = clone_volume(
        &root,
        destination.path(),
        &["--no-filter", "--all", "-p", "all"],
    );
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    let image = Mount::of_image(&destination.path().join("all"), 0, "");
    let at = image.path();
    assert_eq!(
        (names(&at.join("srv/deeper")), names(&at.join("run"))),
        (vec!["t".to_owned()], vec!["t".to_owned()])
    );
    // The kernel's virtual file systems are never copied.
    assert_eq!(names(&at.join("opt/proc")), [""; 0]);
    drop(image);
    let _ = shell("umount srv/deeper srv run opt/proc", &root);
}

#[test]
fn this_runs_own_files_are_not_copied() {
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    let destination = root.join("var/bundle");
    fs::create_dir(&destination).unwrap();
    for name in [
        "image.part.0",
        "image.manifest.xml",
        "precious",
        ".ec2-ami-tools.0123456789abcdef",
    ] {
        fs::write(destination.join(name), "x").unwrap();
    }
    let mut arguments = bundling_volume(&root, &destination);
    arguments.extend(["-s".to_owned(), "16".to_owned()]);
    let result = run("ec2-bundle-vol", &arguments);
    assert_eq!(result.code, 0, "{}", result.stderr);
    let image = Mount::of_image(&destination.join("image"), 0, "");
    assert_eq!(names(&image.path().join("var/bundle")), ["precious"]);
}

#[test]
fn what_the_filter_takes_out_is_said_and_can_be_brought_back() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    let _ = shell(
        "mkdir -p usr/share/ca var/lib/dpkg/info; echo ca > usr/share/ca/root.pem; ln -s usr/share share
         printf '/.\\n/usr\\n/usr/share/ca/root.pem\\n' > var/lib/dpkg/info/ca-certificates:all.list",
        &root,
    );
    let destination = folder();
    let result = clone_volume(&root, destination.path(), &[]);
    assert_eq!(result.code, 0);
    assert_eq!(
        result.stderr,
        "Left out 4 files that look like secrets or leftovers (--dry-run lists them; --include brings back, --no-filter keeps all).\n\
         WARNING: 1 of them belongs to an installed package, which may need it: /usr/share/ca/root.pem (ca-certificates)\n"
    );
    let list = |name: &str| {
        let image = Mount::of_image(&destination.path().join(name), 0, "");
        (
            names(&image.path().join("home/u")),
            names(&image.path().join("usr/share/ca")),
        )
    };
    let (home, ca) = list("image");
    assert_eq!(
        (home, ca.len()),
        (
            [".ssh", "hard", "notes.txt", "soft"]
                .map(str::to_owned)
                .into(),
            0
        )
    );
    let result = clone_volume(
        &root,
        destination.path(),
        &[
            "-p",
            "more",
            "-i",
            "/usr/share/ca/*.pem",
            "-e",
            "/home/u/notes.txt,/home/u/hard",
        ],
    );
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(
        result
            .stdout
            .contains("\t /home/u/notes.txt\n\t /home/u/hard\n"),
        "{}",
        result.stdout
    );
    let (home, ca) = list("more");
    assert_eq!(
        (home, ca),
        (
            vec![".ssh".to_owned(), "soft".to_owned()],
            vec!["root.pem".to_owned()]
        )
    );
}

#[test]
fn rpms_database_names_packages_too() {
    let volume = Mount::new("64M", "mke2fs -q -F -t ext4");
    let root = volume.path();
    fill(&root);
    let work = folder();
    let script = format!(
        "printf 'Name: ca-trust\\nVersion: 1\\nRelease: 1\\nSummary: x\\nLicense: x\\nBuildArch: noarch\\n%%description\\nx\\n%%install\\n\
         mkdir -p %%{{buildroot}}/etc/pki; echo ca > %%{{buildroot}}/etc/pki/bundle.pem\\n%%files\\n/etc/pki/bundle.pem\\n' > x.spec
         rpmbuild -bb --quiet --define \"_topdir $PWD\" x.spec > log 2>&1
         rpm --root '{root}' --dbpath /var/lib/rpm --nodeps -i noarch/*.rpm RPMS/noarch/*.rpm 2> log2 || rpm --root '{root}' --dbpath /var/lib/rpm --nodeps -i RPMS/noarch/*.rpm",
        root = root.display()
    );
    let _ = shell(&script, work.path());
    let destination = folder();
    let result = clone_volume(&root, destination.path(), &[]);
    assert_eq!(result.code, 0, "{}", result.stderr);
    assert!(result.stderr.contains("1 of them belongs to an installed package, which may need it: /etc/pki/bundle.pem (ca-trust)\n"), "{}", result.stderr);
}

#[test]
fn a_dry_run_needs_no_root_and_makes_nothing() {
    let volume = Mount::new("16M", "mke2fs -q -F -t ext4 -L root");
    fill(&volume.path());
    let destination = folder();
    let work = folder();
    let _ = shell(
        &format!(
            "cp '{}' dry; chmod 755 . dry; chmod 755 '{}'; chmod 700 '{}/home/u'",
            command_path("ec2-bundle-vol").display(),
            volume.path().parent().unwrap().display(),
            volume.path().display()
        ),
        work.path(),
    );
    let paths = [volume.path(), destination.path().to_owned()]
        .map(|path| path.to_str().unwrap().to_owned());
    let arguments = ["--dry-run", "-v", &paths[0], "-d", &paths[1], "-e", "/var"];
    let as_root = run("ec2-bundle-vol", &arguments);
    assert_eq!((as_root.code, as_root.stderr.as_str()), (0, ""));
    for line in [
        "File system:  ext4, label root, UUID ",
        "Partition:    none\n",
        "Boot loader:  none: for paravirtual instances\n",
        "  1 by /var (--exclude)\n",
        "  1 by *id_rsa* (secrets and leftovers)\n",
        "  /home/u/id_rsa\n",
    ] {
        assert!(as_root.stdout.contains(line), "{line} {}", as_root.stdout);
    }
    let mut nobody = Command::new("setpriv");
    let _ = nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(work.path().join("dry"))
        .args(arguments);
    let _ = shell("chmod 755 .", destination.path());
    let result = outcome(&mut nobody);
    assert_eq!((result.code, result.stderr.as_str()), (0, ""));
    assert!(
        result
            .stdout
            .contains("Not looked into, for want of root's rights: /home/u\n"),
        "{}",
        result.stdout
    );
    assert_eq!(names(destination.path()), [""; 0]);
    let result = outcome(nobody.arg("--json"));
    let plan: serde_json::Value = serde_json::from_str(&result.stdout).unwrap();
    assert_eq!(
        (text(&plan["partition"]), text(&plan["unreadable"][0])),
        ("none", "/home/u")
    );
    // Without --dry-run, it says at once that it needs root.
    let mut nobody = Command::new("setpriv");
    let _ = nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(work.path().join("dry"))
        .args(["--clone-only", "-v", &paths[0], "-d", &paths[1]]);
    let result = outcome(&mut nobody);
    assert_eq!((result.code, result.stdout.as_str()), (254, ""));
    assert!(
        result.stderr.starts_with("ERROR: You need to be root"),
        "{}",
        result.stderr
    );
}
