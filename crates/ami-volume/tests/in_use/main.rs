//! Volumes that are written to while they are copied, on real file systems. Needs root, loop devices, and mkfs of ext4, xfs and btrfs.
//!
//! It has a `main` of its own because, as every program that freezes, it is also the second process that thaws ([`ami_volume::keep`]), and
//! the program that is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ami_volume::{
    Error, Event, Freeze, Freezing, Fstab, InUse, Made, Making, PartitionType, Plan, Request, keep,
    make, mounted_from,
};

const TESTS: [(&str, fn()); 10] = [
    ("a_frozen_volume_is_of_one_moment", frozen_volumes),
    ("a_btrfs_snapshot_is_of_one_moment", snapshots),
    ("the_key_is_not_copied_from_a_snapshot", key_in_snapshot),
    ("a_kill_thaws", kill_while_frozen),
    ("the_limit_thaws_even_what_is_stopped", limit_of_freeze),
    ("a_volume_that_this_run_needs_is_not_frozen", needed_volumes),
    ("a_device_is_frozen_where_it_is_mounted", frozen_device),
    ("a_kill_deletes_snapshots", kill_with_snapshots),
    ("a_second_pass_copies_what_changed", second_pass),
    ("commands_run_around_the_copy", commands),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if keep(&arguments) {
        return ExitCode::SUCCESS;
    }
    match arguments.first().and_then(|first| first.to_str()) {
        Some("freeze") => return freeze_and_wait(Path::new(&arguments[1]), &arguments[2]),
        Some("copy") => return copy_and_wait(Path::new(&arguments[1]), Path::new(&arguments[2])),
        Some("numbers") => {
            return write_numbers(Path::new(&arguments[1]), Path::new(&arguments[2]));
        }
        Some("names") => {
            return change_names(Path::new(&arguments[1]), Path::new(&arguments[2]));
        }
        _ => {}
    }
    let wanted = arguments.iter().filter_map(|word| word.to_str());
    let wanted: Vec<&str> = wanted.filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word)) {
            let begin = std::time::Instant::now();
            let result = std::panic::catch_unwind(test);
            failed += u8::from(result.is_err());
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} ... {word} ({:.1?})", begin.elapsed());
        }
    }
    ExitCode::from(failed)
}

/// What the program that is killed does: it freezes a volume, says so, waits for a word, thaws and says what came of it.
fn freeze_and_wait(volume: &Path, limit: &OsString) -> ExitCode {
    let limit = Duration::from_millis(limit.to_str().unwrap().parse().unwrap());
    let freeze = Freeze::new(&[volume.to_owned()], &[], limit, &AtomicBool::new(false));
    println!(
        "{:?}",
        freeze.as_ref().map(|_| ()).map_err(ToString::to_string)
    );
    let _ = std::io::stdin().read_line(&mut String::new()).unwrap();
    println!(
        "{:?}",
        freeze.unwrap().thaw().map_err(|error| error.to_string())
    );
    ExitCode::SUCCESS
}

/// The other one: it copies a btrfs volume and says when there are snapshots; then it waits.
fn copy_and_wait(volume: &Path, destination: &Path) -> ExitCode {
    let in_use = InUse {
        snapshots: true,
        after: Some(format!("touch '{}/after'", destination.display()).into()),
        ..InUse::default()
    };
    let event = |event: Event<'_>| {
        if let Event::Snapshots(count) = event {
            println!("{count}");
            let _ = std::io::stdin().read_line(&mut String::new()).unwrap();
        }
    };
    let _ = image_of(request(volume, destination, in_use), &event, &|_, _| {}).unwrap();
    ExitCode::SUCCESS
}

fn shell(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", &format!("PATH=$PATH:/usr/sbin:/sbin; {script}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// A file system on a loop device, mounted.
struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    fn new(size: &str, mkfs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let _ = shell(&format!(
            "cd '{at}'; truncate -s {size} file; {mkfs} file >&2; mkdir mnt; mount -o loop file mnt"
        ));
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn device(&self) -> PathBuf {
        shell(&format!("findmnt -n -o SOURCE '{}'", self.path().display())).into()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A test that failed may have left it busy for a moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn ext4() -> Volume {
    Volume::new("64M", "mke2fs -q -F -t ext4")
}

fn btrfs() -> Volume {
    Volume::new("120M", "mkfs.btrfs -q")
}

fn request(volume: &Path, destination: &Path, in_use: InUse) -> Request {
    Request {
        volume: volume.to_owned(),
        size: 400 << 20,
        partition: Some(PartitionType::None),
        all: false,
        excludes: Vec::new(),
        includes: Vec::new(),
        filter: false,
        fstab: Fstab::Keep,
        grub_config: None,
        script: None,
        use_volume_tools: false,
        secrets: vec![volume.join("key")],
        image: destination.join("image"),
        own: Vec::new(),
        private: destination.join(".private"),
        destination: destination.to_owned(),
        is_bundled: false,
        check_space: true,
        threads: 2.try_into().unwrap(),
        in_use,
    }
}

fn image_of(
    request: Request,
    event: &(dyn Fn(Event<'_>) + Sync),
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Made, Error> {
    let interrupted = AtomicBool::new(false);
    let image = request.image.clone();
    let plan = Plan::new(request, &interrupted)?;
    let making = Making {
        progress,
        event,
        interrupted: &interrupted,
    };
    make(&plan, &image, &making)
}

/// What is on an image, while it is mounted.
fn in_image<T>(destination: &Path, look: impl FnOnce(&Path) -> T) -> T {
    let mount = destination.join("image-mount");
    let at = mount.display();
    // Its UUID may be that of a volume that is mounted: xfs and btrfs would refuse it.
    let _ = shell(&format!(
        "mkdir '{at}'; cd '{}'; case $(blkid -p -o value -s TYPE image) in
            xfs) mount -o loop,nouuid image '{at}';;
            btrfs) btrfstune -f -m image >&2; mount -o loop image '{at}';;
            *) mount -o loop image '{at}';; esac",
        destination.display()
    ));
    let found = look(&mount);
    let _ = shell(&format!("umount '{at}'"));
    found
}

/// Writes numbers to two files in turn, as fast as it can, until it is killed: a number is in the second only after it is in the first.
fn write_numbers(first: &Path, second: &Path) -> ExitCode {
    let [mut first, mut second] = [first, second].map(|path| File::create(path).unwrap());
    for number in 0_u32.. {
        for file in [&mut first, &mut second] {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        if number == 1000 {
            println!("begun");
        }
    }
    ExitCode::SUCCESS
}

/// The same with names: each folder has one file, whose name is a number.
fn change_names(first: &Path, second: &Path) -> ExitCode {
    for folder in [first, second] {
        fs::create_dir(folder).unwrap();
        let _ = File::create(folder.join("0")).unwrap();
    }
    for number in 0_u32.. {
        for folder in [first, second] {
            let [old, new] = [number, number + 1].map(|number| folder.join(number.to_string()));
            fs::rename(old, new).unwrap();
        }
        if number == 1000 {
            println!("begun");
        }
    }
    ExitCode::SUCCESS
}

/// Another process does `what` to both while `act` runs.
fn while_writing<T>(what: &str, first: &Path, second: &Path, act: impl FnOnce() -> T) -> T {
    let words = [first, second].map(|path| path.to_str().unwrap());
    let mut writer = Other::start(&[what, words[0], words[1]]);
    assert_eq!(writer.line(), "begun");
    act()
}

/// The whole numbers in both files of an image.
fn numbers(root: &Path, first: &str, second: &str) -> (usize, usize) {
    let read = |path: &str| {
        let bytes = fs::read(root.join(path)).unwrap();
        let (numbers, _) = bytes.as_chunks::<4>();
        let in_order = numbers.iter().enumerate();
        assert!(
            in_order
                .into_iter()
                .all(|(index, bytes)| u32::from_le_bytes(*bytes) as usize == index)
        );
        numbers.len()
    };
    (read(first), read(second))
}

fn freezing() -> Freezing {
    Freezing {
        limit: Duration::from_secs(60),
        ours: Vec::new(),
    }
}

/// The file that is read first is written first: so a copy that is not of one moment has fewer numbers in it than in the other.
fn fill(volume: &Path) {
    let _ = shell(&format!(
        "cd '{}'; mkdir a b etc; head -c 8000000 /dev/urandom > etc/much; echo key > key",
        volume.display()
    ));
}

fn frozen_volumes() {
    for volume in [ext4(), Volume::new("320M", "mkfs.xfs -q"), btrfs()] {
        let destination = tempfile::tempdir().unwrap();
        let path = volume.path();
        fill(&path);
        let in_use = InUse {
            freeze: Some(freezing()),
            second_pass: true,
            ..InUse::default()
        };
        let is_frozen = AtomicBool::new(false);
        let event = |event: Event<'_>| match event {
            Event::Frozen => is_frozen.store(true, Ordering::Relaxed),
            Event::SecondPass => panic!("nothing can have changed"),
            _ => {}
        };
        let (first, second) = (path.join("a/first"), path.join("b/second"));
        let made = while_writing("numbers", &first, &second, || {
            image_of(
                request(&path, destination.path(), in_use),
                &event,
                &|_, _| {},
            )
            .unwrap()
        });
        assert!(is_frozen.into_inner());
        assert_eq!(
            (made.copied.changed, made.copied.vanished),
            (vec![], vec![])
        );
        let (first, second) = in_image(destination.path(), |root| {
            numbers(root, "a/first", "b/second")
        });
        assert!(
            second >= 1000 && (first == second || first == second + 1),
            "{first} {second}"
        );
        // It is thawed.
        fs::write(path.join("after"), "x").unwrap();
    }
}

fn snapshots() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "cd '{0}'; btrfs -q subvolume create a/inner; btrfs -q subvolume create a/inner/most; btrfs -q subvolume create left-out;
        echo most > a/inner/most/file; echo inner > a/inner/file; echo no > left-out/file; ln a/inner/file a/inner/link",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        second_pass: true,
        ..InUse::default()
    };
    let request = Request {
        excludes: vec!["/left-out".to_owned()],
        ..request(&path, destination.path(), in_use)
    };
    let count = Mutex::new(0);
    let event = |event: Event<'_>| {
        if let Event::Snapshots(number) = event {
            *count.lock().unwrap() = number;
        }
    };
    // What is written to files is in a snapshot only as far as it had reached the disk, of each file by itself; names are of one moment.
    let (first, second) = (path.join("a/first"), path.join("b/second"));
    let made = while_writing("names", &first, &second, || {
        image_of(request, &event, &|_, _| {}).unwrap()
    });
    assert_eq!(count.into_inner().unwrap(), 3);
    assert_eq!(
        (made.copied.changed, made.copied.vanished),
        (vec![], vec![])
    );
    in_image(destination.path(), |root| {
        let [first, second] = ["a/first", "b/second"].map(|folder| {
            let names: Vec<_> = fs::read_dir(root.join(folder)).unwrap().collect();
            let [Ok(only)] = &names[..] else {
                panic!("{names:?}")
            };
            let number = only.file_name().into_string().unwrap();
            number.parse::<u32>().unwrap()
        });
        assert!(
            second >= 1000 && (first == second || first == second + 1),
            "{first} {second}"
        );
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(
            (read("a/inner/most/file"), read("a/inner/file")),
            ("most\n".into(), "inner\n".into())
        );
        let number = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(number("a/inner/file"), number("a/inner/link"));
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "b", "dev", "etc", "mnt", "proc", "sys"]);
    });
    assert_eq!(subvolumes(&path), 3);
    assert!(!has_holder(&path));
}

fn subvolumes(path: &Path) -> usize {
    shell(&format!("btrfs subvolume list '{}'", path.display()))
        .lines()
        .count()
}

fn has_holder(path: &Path) -> bool {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .into_iter()
        .any(|name| name.to_string_lossy().starts_with(".ec2-ami-tools"))
}

fn key_in_snapshot() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    fs::hard_link(path.join("key"), path.join("etc/other-name")).unwrap();
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        ..InUse::default()
    };
    let _ = image_of(
        request(&path, destination.path(), in_use),
        &|_| {},
        &|_, _| {},
    )
    .unwrap();
    in_image(destination.path(), |root| {
        assert!(root.join("etc/much").exists());
        assert!(!root.join("key").exists() && !root.join("etc/other-name").exists());
    });
}

/// This program once more, with what it says.
struct Other {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The process that it has started to keep its promise of that kind.
    fn keepers(&self, word: &str) -> Vec<i32> {
        let id = self.child.id();
        let found = shell(&format!(
            "pgrep -P {id} -f -- '--keep-promise-of {id} {word}' || true"
        ));
        found.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn signal(&self, name: &str) {
        let _ = shell(&format!("kill -{name} {}", self.child.id()));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether something can be written to a volume; waits until it can.
fn write_to(volume: &Path) {
    fs::write(volume.join("written"), "x").unwrap();
}

/// Whether a volume is frozen, without waiting.
fn is_frozen(volume: &Path) -> bool {
    let child = Command::new("touch").arg(volume.join("tried")).spawn();
    let mut child = child.unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let waits = child.try_wait().unwrap().is_none();
    // If it waits for the volume, a signal ends it only when it is thawed.
    drop(std::thread::spawn(move || child.wait()));
    waits
}

fn kill_while_frozen() {
    let volume = ext4();
    let path = volume.path();
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert_eq!(other.line(), "Ok(())");
    assert!(is_frozen(&path));
    other.signal("KILL");
    write_to(&path);
    // The other way round: without its second process, it still thaws.
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert_eq!(other.line(), "Ok(())");
    let keepers = other.keepers("thaw");
    assert_eq!(keepers.len(), 1);
    let _ = shell(&format!("kill -KILL {}", keepers[0]));
    assert!(is_frozen(&path));
    // What another program has frozen is not thawed.
    let mut third = Other::start(&["freeze", path.to_str().unwrap(), "600000"]);
    assert!(
        third
            .line()
            .contains("is frozen already, by another program")
    );
    drop(third);
    assert!(is_frozen(&path));
    other.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(other.line(), "Ok(())");
    write_to(&path);
}

fn limit_of_freeze() {
    let volume = ext4();
    let path = volume.path();
    let mut other = Other::start(&["freeze", path.to_str().unwrap(), "1000"]);
    assert_eq!(other.line(), "Ok(())");
    other.signal("STOP");
    write_to(&path);
    other.signal("CONT");
    other.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(
        other.line(),
        format!(
            "Err(\"{} was thawed before its copy was complete: it may be frozen for a limited time only\")",
            path.display()
        )
    );
    // A copy ends with an error then.
    fill(&path);
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        freeze: Some(Freezing {
            limit: Duration::from_millis(300),
            ours: Vec::new(),
        }),
        ..InUse::default()
    };
    let event = |event: Event<'_>| {
        if matches!(event, Event::Frozen) {
            std::thread::sleep(Duration::from_millis(400));
        }
    };
    let made = image_of(
        request(&path, destination.path(), in_use),
        &event,
        &|_, _| {},
    );
    assert!(matches!(made, Err(Error::Thawed { volume }) if volume == path));
}

fn needed_volumes() {
    let volume = ext4();
    let path = volume.path();
    let freeze = |ours: &[PathBuf]| {
        let limit = Duration::from_secs(60);
        Freeze::new(
            std::slice::from_ref(&path),
            ours,
            limit,
            &AtomicBool::new(false),
        )
    };
    let needed = |result: Result<Freeze, Error>| match result {
        Err(Error::Needed { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    // What does not exist yet.
    let log = path.join("log/file");
    assert_eq!(needed(freeze(std::slice::from_ref(&log))), log);
    // A file that is open to write, a read-only one.
    let open = File::create(path.join("open")).unwrap();
    assert_eq!(needed(freeze(&[])), path.join("open"));
    drop(open);
    let open = File::open(path.join("open")).unwrap();
    freeze(&[]).unwrap().thaw().unwrap();
    drop(open);
    // A file system in a file on it; and an overlay that writes to it.
    let _ = shell(&format!(
        "cd '{}'; mkdir inner upper work over; truncate -s 8M fs; mke2fs -q -F fs; mount -o loop fs inner
        mount -t overlay -o lowerdir=inner,upperdir=$PWD/upper,workdir=$PWD/work overlay over",
        path.display()
    ));
    let found = [path.join("inner"), path.join("over")]
        .map(|ours| (needed(freeze(std::slice::from_ref(&ours))), ours));
    let _ = shell(&format!(
        "cd '{}'; umount over; umount inner",
        path.display()
    ));
    for (found, expected) in found {
        assert_eq!(found, expected);
    }
    // The one that we run from.
    let root = Freeze::new(
        &["/".into()],
        &[],
        Duration::from_secs(60),
        &AtomicBool::new(false),
    );
    assert_eq!(needed(root), Path::new("/"));
    freeze(&[]).unwrap().thaw().unwrap();
}

fn frozen_device() {
    for volume in [ext4(), btrfs()] {
        let device = volume.device();
        assert_eq!(mounted_from(&device).unwrap(), [volume.path()]);
        let limit = Duration::from_secs(60);
        let freeze = Freeze::of_device(&device, &[], limit, &AtomicBool::new(false)).unwrap();
        assert!(is_frozen(&volume.path()));
        freeze.thaw().unwrap();
        write_to(&volume.path());
    }
}

fn kill_with_snapshots() {
    let volume = btrfs();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "btrfs -q subvolume create '{}/a/inner'",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let copy = |arguments: &Path| {
        let mut other =
            Other::start(&["copy", path.to_str().unwrap(), arguments.to_str().unwrap()]);
        assert_eq!(other.line(), "2");
        assert_eq!(subvolumes(&path), 3);
        other
    };
    let other = copy(destination.path());
    other.signal("KILL");
    while has_holder(&path) || !destination.path().join("after").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(subvolumes(&path), 1);
    // Killed together with its second process: the next run deletes them.
    let second = tempfile::tempdir().unwrap();
    let other = copy(second.path());
    other.signal("STOP");
    for keeper in other.keepers("") {
        let _ = shell(&format!("kill -KILL {keeper}"));
    }
    drop(other);
    assert_eq!((subvolumes(&path), has_holder(&path)), (3, true));
    let third = tempfile::tempdir().unwrap();
    let in_use = InUse {
        snapshots: true,
        ..InUse::default()
    };
    let _ = image_of(request(&path, third.path(), in_use), &|_| {}, &|_, _| {}).unwrap();
    assert_eq!((subvolumes(&path), has_holder(&path)), (1, false));
}

fn second_pass() {
    let volume = ext4();
    let path = volume.path();
    fill(&path);
    let _ = shell(&format!(
        "cd '{}'; mkdir -p gone/deep moved old new was-folder acl; echo 1 > gone/deep/x; echo same > moved/file
        echo 111 > old/f; echo 222 > new/f; touch -d 2001-02-03 old/f new/f; echo x > was-file; ln -s a link
        echo linked > l1; ln l1 l2; ln l1 l3; echo changes > c1; ln c1 c2; echo y > vanishes; setfacl -d -m u:77:r acl; echo z > still",
        path.display()
    ));
    let destination = tempfile::tempdir().unwrap();
    let in_use = InUse {
        second_pass: true,
        ..InUse::default()
    };
    let copying = Mutex::new(0_u32);
    let event = |event: Event<'_>| {
        if matches!(event, Event::SecondPass) {
            *copying.lock().unwrap() += 1;
            // After the first pass, as other processes do at any time. Two folders are exchanged whose files have one size and time.
            let _ = shell(&format!(
                "cd '{}'; rm -r gone vanishes; mv moved moved-there; mv old t; mv new old; mv t new
                rmdir was-folder; echo f > was-folder; rm was-file; mkdir was-file; echo g > was-file/g; ln -sfn b link
                rm l2; echo alone > l2; ln l1 l4; echo more >> c2; echo in > acl/in; chmod 600 key; echo '***' > etc/more
                setfattr -n user.a -v b a; truncate -s 5M etc/hole",
                path.display()
            ));
            // What has changed in the same tick of the clock would be named; what mkfs made has whole seconds.
            std::thread::sleep(Duration::from_millis(1200));
        }
    };
    let writer = |_, _| {
        if *copying.lock().unwrap() == 1 {
            *copying.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(30));
            fs::write(path.join("still"), "changes in the second pass").unwrap();
        }
    };
    let made = image_of(request(&path, destination.path(), in_use), &event, &writer).unwrap();
    assert_eq!(made.copied.changed, [PathBuf::from("/still")]);
    assert_eq!(made.copied.vanished, Vec::<PathBuf>::new());
    let again = made.copied.again.unwrap();
    assert_eq!((again.removed, again.unsettled), (3, 1));
    // Not what is large and has not changed.
    assert!(again.data < 1000, "{again:?}");
    let differences = in_image(destination.path(), |root| {
        shell(&format!(
            "rsync -naHAXi --checksum --delete --numeric-ids --exclude=/key --exclude=/dev --exclude=/mnt --exclude=/proc --exclude=/sys \
             --exclude=/lost+found --exclude=/still '{}/' '{}/'",
            path.display(),
            root.display()
        ))
    });
    assert_eq!(differences, "");
}

fn commands() {
    let volume = ext4();
    let path = volume.path();
    fill(&path);
    let run = |before: &str, after: &str, image: &Path| {
        let in_use = InUse {
            before: Some(before.into()),
            after: Some(after.into()),
            ..InUse::default()
        };
        image_of(request(&path, image, in_use), &|_| {}, &|_, _| {})
    };
    let at = path.display();
    let good = tempfile::tempdir().unwrap();
    let _ = run(
        &format!("echo 1 > '{at}/flushed'"),
        &format!("rm '{at}/flushed'"),
        good.path(),
    )
    .unwrap();
    assert!(!path.join("flushed").exists());
    let flushed = in_image(good.path(), |root| {
        fs::read_to_string(root.join("flushed")).unwrap()
    });
    assert_eq!(flushed, "1\n");
    let bad = tempfile::tempdir().unwrap();
    let error = run(
        "echo cannot flush >&2; exit 7",
        &format!("touch '{at}/after'"),
        bad.path(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the command before the copy failed (exit status: 7): cannot flush"
    );
    assert!(path.join("after").exists());
    let late = tempfile::tempdir().unwrap();
    let error = run("true", "exit 9", late.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the command after the copy failed (exit status: 9)"
    );
}
