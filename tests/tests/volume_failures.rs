//! `ec2-bundle-vol` when something goes wrong: it reports what, and leaves no mount, loop device, private folder or file. Needs root.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use end_to_end::images::noise;
use end_to_end::mounts::Mount;
use end_to_end::traces::assert_no_trace;
use end_to_end::{
    Outcome, bundling_volume, clone_volume, command, command_path, folder, has_begun, names,
    outcome, shell, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

fn volume(size: &str, data: usize) -> Mount {
    let volume = Mount::new(size, "mke2fs -q -F -t ext4 -b 4096");
    let _ = shell(
        "mkdir -p etc dev proc sys; echo host > etc/hostname",
        &volume.path(),
    );
    fs::write(volume.path().join("data"), noise(data, 7)).unwrap();
    let _ = shell("sync -f .", &volume.path());
    volume
}

/// Runs a command that must fail, leave nothing behind, and not change the destination.
fn assert_fails(volume: &Path, more: &[&str], code: i32, said: &[&str]) -> Outcome {
    let destination = folder();
    let mut arguments = bundling_volume(volume, destination.path());
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    let result = outcome(&mut command("ec2-bundle-vol", &arguments));
    assert_eq!(result.code, code, "{result:?}");
    for text in said {
        assert!(result.stderr.contains(text), "{text}: {}", result.stderr);
    }
    assert_no_trace(destination.path());
    assert_eq!(names(destination.path()), [""; 0], "{more:?}");
    result
}

#[test]
fn what_cannot_work_is_said_before_anything_is_made() {
    let volume = volume("64M", 9 << 20);
    let root = volume.path();
    let tool = |tool: &str, arguments: &[&str], said: &[&str]| {
        // A tool that is not executable counts as not installed.
        let destination = folder();
        let mut words = bundling_volume(&root, destination.path());
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "mount --bind /dev/null \"$(PATH=$PATH:/usr/sbin command -v {tool})\"; exec '{}' {}",
            command_path("ec2-bundle-vol").display(),
            words.join(" ")
        );
        let result = outcome(Command::new("unshare").args(["--mount", "bash", "-euc", &script]));
        assert_eq!((result.code, result.stdout.as_str()), (1, ""), "{result:?}");
        for text in said {
            assert!(result.stderr.contains(text), "{text}: {}", result.stderr);
        }
        assert_eq!(names(destination.path()), [""; 0]);
    };
    tool(
        "mke2fs",
        &[],
        &["ERROR: mke2fs was not found", "Debian: e2fsprogs"],
    );
    tool("tune2fs", &[], &["ERROR: tune2fs was not found"]);
    for (arguments, code, said) in [
        (
            &["-s", "8"][..],
            1,
            "ERROR: the volume's files need more than an image of 8 MB has: at least 12 MB; give a larger --size",
        ),
        (
            &["-s", "10241"],
            254,
            "ERROR: the specified size 10241MB is too large",
        ),
        (&["-P", "mbr"], 1, "ERROR: no boot loader found on "),
        (
            &["-s", "-5"],
            1,
            "--size has invalid value '-5': a number of MB is needed.\nTry 'ec2-bundle-vol --help'",
        ),
        (&["-p", ".."], 1, "--prefix has invalid value '..'"),
    ] {
        let result = assert_fails(&root, arguments, code, &[said]);
        assert_eq!(result.stdout, "");
    }
    let xfs = Mount::new("300M", "mkfs.xfs -q");
    let _ = assert_fails(
        &xfs.path(),
        &["-s", "100"],
        1,
        &["ERROR: xfs needs an image of at least 302 MB; give a larger --size"],
    );
    // A GRUB without a configuration boots nothing.
    let _ = shell(
        "mkdir -p usr/lib/grub/i386-pc usr/bin; cd usr/lib/grub/i386-pc; touch boot.img diskboot.img kernel.img biosdisk.mod; cd ../../../bin; printf '#!/bin/sh\\nexit 1\\n' > grub-mkimage; chmod +x grub-mkimage",
        &root,
    );
    let _ = assert_fails(
        &root,
        &["-P", "gpt", "--use-volume-tools"],
        1,
        &["has GRUB 2, but no configuration for it (/boot/grub/grub.cfg); make one"],
    );
    // A GRUB that cannot make its core image is noticed before the copy.
    let _ = shell("mkdir -p boot/grub; touch boot/grub/grub.cfg", &root);
    let result = assert_fails(
        &root,
        &["-P", "gpt"],
        1,
        &["ERROR: grub-mkimage is not on this machine, and programs of the volume "],
    );
    assert_eq!(result.stdout, "");
    let result = assert_fails(
        &root,
        &["-P", "gpt", "--use-volume-tools"],
        1,
        &["ERROR: cannot run /usr/bin/grub-mkimage"],
    );
    assert_eq!(result.stdout, "");
}

/// Lists everything that would end a run.
#[test]
fn a_dry_run_lists_every_problem_and_shows_the_plan_all_the_same() {
    let volume = volume("64M", 9 << 20);
    let small = Mount::new("4M", "mke2fs -q -F -t ext4 -m 0");
    let (root, destination) = (volume.path(), small.path());
    fs::write(destination.join("image"), "").unwrap();
    let certificate = root.join("etc/hostname");
    let mut arguments = bundling_volume(&root, &destination);
    let more = [
        "-s",
        "8",
        "-P",
        "gpt",
        "-e",
        "/not-there,/data2",
        "-i",
        "none",
        "-c",
        certificate.to_str().unwrap(),
    ];
    arguments.extend(more.map(str::to_owned));
    let first = outcome(&mut command("ec2-bundle-vol", &arguments));
    arguments.push("--dry-run".to_owned());
    let dry = outcome(&mut command("ec2-bundle-vol", &arguments));
    arguments.push("--json".to_owned());
    let json = outcome(&mut command("ec2-bundle-vol", &arguments));
    assert_eq!(names(&destination), ["image", "lost+found"]);

    let missing = |option: &str, name: &str| {
        format!(
            "--{option} has invalid value '{}/{name}': File or directory does not exist.",
            root.display()
        )
    };
    let said = [
        missing("exclude", "not-there"),
        missing("exclude", "data2"),
        missing("include", "none"),
        format!("the specified image file {}/image already exists", destination.display()),
        format!("error reading certificate file {}: ", certificate.display()),
        format!("no boot loader found on {}: a gpt image needs GRUB 2 for BIOS or GRUB Legacy; install one (", root.display()),
        "the volume's files need more than an image of 8 MB has: at least 12 MB; give a larger --size or leave out more with --exclude".to_owned(),
        format!("there may be too little space in {}: ", destination.display()),
    ];
    let lines: Vec<&str> = dry
        .stderr
        .lines()
        .filter(|line| *line != "Try 'ec2-bundle-vol --help'")
        .map(|line| line.strip_prefix("ERROR: ").unwrap_or(line))
        .collect();
    assert_eq!(lines.len(), said.len(), "{}", dry.stderr);
    for (line, said) in lines.iter().zip(&said) {
        assert!(line.starts_with(said), "{line}, not {said}");
    }
    // A run ends with the first of them.
    assert_eq!((first.code, first.stdout.as_str()), (1, ""));
    assert_eq!(
        first.stderr,
        format!("{}\nTry 'ec2-bundle-vol --help'\n", said[0])
    );
    assert_eq!(dry.code, 1);
    for line in [
        "Partition:    gpt\n",
        "Boot loader:  none was found\n",
        "To copy:      ",
    ] {
        assert!(dry.stdout.contains(line), "{line} {}", dry.stdout);
    }
    assert_eq!((json.code, &json.stderr), (1, &dry.stderr));
    let plan: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(plan["partition"], "gpt");
    let problems = plan["problems"].as_array().unwrap();
    let problems: Vec<&str> = problems.iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(problems, lines);
}

#[test]
fn a_dry_run_ends_with_the_code_of_the_first_problem() {
    let volume = volume("64M", 1000);
    let _ = assert_fails(
        &volume.path(),
        &["--dry-run", "-s", "10241", "-P", "mbr"],
        254,
        &["ERROR: the specified size 10241MB is too large\nERROR: no boot loader found on "],
    );
}

#[test]
fn too_little_space_at_the_destination_is_said_beforehand() {
    let volume = volume("64M", 20 << 20);
    let small = Mount::new("30M", "mke2fs -q -F -t ext4 -m 0");
    let result = outcome(&mut command(
        "ec2-bundle-vol",
        &bundling_volume(&volume.path(), &small.path()),
    ));
    assert_eq!(result.code, 1);
    assert!(
        result
            .stderr
            .contains("ERROR: there may be too little space in"),
        "{}",
        result.stderr
    );
    assert_eq!(names(&small.path()), ["lost+found"]);
    // If it is tried all the same, the disk runs full, and everything that was made is removed.
    let mut arguments = bundling_volume(&volume.path(), &small.path());
    arguments.push("--no-size-checks".to_owned());
    let result = outcome(&mut command("ec2-bundle-vol", &arguments));
    assert_eq!(result.code, 1);
    assert!(result.stderr.starts_with("ERROR: "), "{}", result.stderr);
    assert_no_trace(&small.path());
    assert_eq!(names(&small.path()), ["lost+found"]);
}

#[test]
fn an_image_that_runs_full_is_said_with_the_file() {
    let volume = volume("64M", 8_500_000);
    let _ = assert_fails(
        &volume.path(),
        &["-s", "10"],
        1,
        &["ERROR: no space left in the image while copying /data; give a larger --size"],
    );
}

#[test]
fn a_file_that_cannot_be_read_ends_it() {
    let volume = volume("64M", 30 << 20);
    // The disk below loses its second half: reading there is an I/O error.
    let _ = shell(
        &format!(
            "mount -o remount,ro '{}'; sync; truncate -s 14M '{}'; echo 3 > /proc/sys/vm/drop_caches",
            volume.path().display(),
            volume.file().display()
        ),
        Path::new("/"),
    );
    let _ = assert_fails(
        &volume.path(),
        &[],
        1,
        &["ERROR: cannot read /data: Input/output error"],
    );
}

#[test]
fn a_script_that_fails_ends_it_with_its_output() {
    let volume = volume("16M", 1000);
    let work = folder();
    let script = work.path().join("s");
    let _ = shell(
        "printf '#!/bin/sh\\necho said; echo oops >&2; mount -t tmpfs none \"$1/mnt\"; cd \"$1/mnt\"; sleep 1000 > /dev/null 2>&1 & exit 3\\n' > s; chmod +x s",
        work.path(),
    );
    let result = assert_fails(
        &volume.path(),
        &["-S", script.to_str().unwrap()],
        1,
        &[
            "said\noops\nERROR: the script ",
            " failed (exit status: 3): nothing was bundled\n",
        ],
    );
    assert!(
        result
            .stdout
            .contains("Customizing cloned volume mounted at "),
        "{}",
        result.stdout
    );
    // Mounts that a script leaves in the image are not an error.
    let _ = shell(
        "printf '#!/bin/sh\\nmount -t tmpfs none \"$1/proc\"\\n' > s",
        work.path(),
    );
    let destination = folder();
    let result = clone_volume(
        &volume.path(),
        destination.path(),
        &["-S", script.to_str().unwrap()],
    );
    assert_eq!(result.code, 0, "{result:?}");
    assert_no_trace(destination.path());
}

#[test]
fn what_mkfs_says_is_passed_on() {
    let volume = volume("16M", 1000);
    let _ = shell(
        "printf '#!/bin/sh\\necho mke2fs: no luck >&2; exit 1\\n' > /tmp/ec2-fake-mke2fs.$$; chmod +x /tmp/ec2-fake-mke2fs.$$; mv /tmp/ec2-fake-mke2fs.$$ fake",
        &volume.path(),
    );
    let destination = folder();
    let words: Vec<String> = bundling_volume(&volume.path(), destination.path())
        .iter()
        .map(|word| format!("'{word}'"))
        .collect();
    let script = format!(
        "mount --bind '{}/fake' \"$(PATH=$PATH:/usr/sbin command -v mke2fs)\"; exec '{}' {}",
        volume.path().display(),
        command_path("ec2-bundle-vol").display(),
        words.join(" ")
    );
    let result = outcome(Command::new("unshare").args(["--mount", "bash", "-euc", &script]));
    assert_eq!(
        (result.code, result.stderr.as_str()),
        (
            1,
            "ERROR: mke2fs failed (exit status: 1): mke2fs: no luck\n"
        )
    );
    assert_no_trace(destination.path());
    assert_eq!(names(destination.path()), [""; 0]);
}

fn start(arguments: &[String]) -> Child {
    command("ec2-bundle-vol", arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_ends_it_cleanly_at_every_stage() {
    let volume = volume("256M", 150 << 20);
    let work = folder();
    let script = work.path().join("s");
    let _ = shell(
        "printf '#!/bin/sh\\ntouch \"$0.runs\"; sleep 1000 & wait\\n' > s; chmod +x s",
        work.path(),
    );
    let with_script = ["-S".to_owned(), script.to_str().unwrap().to_owned()];
    for signal in [Signal::INT, Signal::TERM] {
        for stage in ["copy", "script", "bundle"] {
            let destination = folder();
            let mut arguments = bundling_volume(&volume.path(), destination.path());
            arguments.extend(
                ["-s", "256", "--compression-level", "12", "--threads", "1"].map(str::to_owned),
            );
            if stage == "script" {
                arguments.extend(with_script.clone());
            }
            let mut child = start(&arguments);
            let root = fs::canonicalize(destination.path()).unwrap();
            let parts_begun = || {
                let private = names(&root)
                    .into_iter()
                    .filter(|name| name.starts_with(".ec2-ami-tools"));
                private
                    .flat_map(|name| names(&root.join(name)))
                    .any(|name| name != "image")
            };
            wait_until(&mut child, stage, || match stage {
                "copy" => has_begun(&root),
                "script" => work.path().join("s.runs").exists(),
                _ => parts_begun(),
            });
            send(&child, signal);
            let result = child.wait_with_output().unwrap();
            assert_eq!(result.status.code(), Some(255), "{stage} {result:?}");
            assert_eq!(
                String::from_utf8_lossy(&result.stderr),
                "ec2-bundle-vol interrupted.\n",
                "{stage}"
            );
            assert_no_trace(&root);
            assert_eq!(names(&root), [""; 0], "{stage}");
            let _ = fs::remove_file(work.path().join("s.runs"));
        }
    }
}

#[test]
fn a_killed_run_leaves_nothing_whenever_it_is_killed() {
    let volume = volume("64M", 24 << 20);
    let all = [
        "image",
        "image.manifest.xml",
        "image.part.0",
        "image.part.1",
        "image.part.2",
    ];
    let mut ends = [0; 2];
    // The duration of a whole run, over which the moments are spread.
    let begin = std::time::Instant::now();
    let whole = folder();
    let result = outcome(&mut command(
        "ec2-bundle-vol",
        &bundling_volume(&volume.path(), whole.path()),
    ));
    assert_eq!(result.code, 0, "{result:?}");
    assert_eq!(names(whole.path()), all);
    let mut duration = begin.elapsed();
    const MOMENTS: u32 = 120;
    for moment in 0..MOMENTS {
        let destination = folder();
        let mut child = start(&bundling_volume(&volume.path(), destination.path()));
        let begin = std::time::Instant::now();
        let after =
            duration * moment / MOMENTS + Duration::from_micros(u64::from(moment * 37 % 100));
        while begin.elapsed() < after {
            if child.try_wait().unwrap().is_some() {
                // The run ended before the kill: the machine is less busy than when the duration was measured.
                duration = begin.elapsed();
                break;
            }
            sleep(Duration::from_micros(200));
        }
        let _ = child.kill();
        let _ = child.wait().unwrap();
        assert_no_trace(destination.path());
        let left = names(destination.path());
        // All or nothing; the bundle before its image.
        let is_whole = left == all || left == all[1..];
        assert!(left.is_empty() || is_whole, "moment {moment}: {left:?}");
        ends[usize::from(is_whole)] += 1;
    }
    assert!(
        ends[0] > MOMENTS / 2,
        "most runs should have been killed early: {ends:?}"
    );
}
