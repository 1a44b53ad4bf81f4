//! A volume that other programs change while `ec2-bundle-vol` copies it. Needs root.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::mounts::Mount;
use crate::{clone_volume, folder, shell_with_path};

/// How the volume is made, its image's size in MB, and how the image is mounted beside it.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("64M", "mke2fs -q -F -t ext4", "96", ""),
    ("300M", "mkfs.xfs -q", "320", ",nouuid"),
    ("128M", "mkfs.btrfs -q", "192", ""),
];

/// How many programs disturb a run.
const DISTURBERS: u64 = 4;

/// Makes, removes, renames and swaps entries of every kind in the folder that is its first argument, until it is killed. The second
/// argument is a random seed.
const DISTURBER: &str = r#"
import ctypes, os, random, socket, stat, sys
root, seed = sys.argv[1], int(sys.argv[2])
pick = random.Random(seed)
os.chdir(root)
libc = ctypes.CDLL(None, use_errno=True)
def exchange(a, b):
    libc.renameat2(-100, a.encode(), -100, b.encode(), 2)
# Root works here: nothing is opened through a link, and no device at all.
def opened(p, flags):
    if not stat.S_ISREG(os.lstat(p).st_mode): raise OSError
    fd = os.open(p, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd); raise OSError
    return fd
def new(p):
    return os.open(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
def write(fd, act):
    with os.fdopen(fd, "wb") as f: act(f)
def fill(f):
    f.write(os.urandom(pick.choice([0, 1, 4096, 70000])))
def plain(p): write(new(p), fill)
def again(p): write(opened(p, os.O_WRONLY | os.O_TRUNC), fill)
def holes(f):
    f.truncate(pick.choice([1 << 20, 1 << 30]))
    f.seek(500000); f.write(b"x"); f.truncate(pick.choice([10, 1 << 22]))
def sparse(p): write(new(p), holes)
def linked(p):
    plain(p)
    for i in range(3):
        os.link(p, p + ".%d" % i)
def replace(p):
    plain(p + ".new"); os.rename(p + ".new", p)
def folder(p):
    os.mkdir(p)
    for i in range(pick.choice([0, 1, 200])):
        open(p + "/f%d" % i, "w").close()
def tree(p):
    for i in range(6):
        os.mkdir(p); p += "/d"
def unix(p):
    s = socket.socket(socket.AF_UNIX); s.bind(p); s.close()
def attributes(p):
    fd = new(p)
    try:
        for i in range(pick.choice([1, 60])):
            os.setxattr(fd, "user.%d" % i, b"v" * pick.choice([1, 30]))
    finally:
        os.close(fd)
def mode(p):
    fd = opened(p, os.O_RDONLY)
    os.fchmod(fd, pick.choice([0o600, 0o755, 0o4755])); os.close(fd)
make = [plain, again, again, replace, sparse, linked, folder, folder, tree, unix, attributes,
        lambda p: os.symlink(pick.choice(["a", "/nonexistent", "x" * 900]), p),
        lambda p: os.mkfifo(p),
        lambda p: os.mknod(p, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
        lambda p: os.mknod(p, 0o600 | stat.S_IFBLK, os.makedev(259, 70000))]
def remove(p):
    if os.path.islink(p) or not os.path.isdir(p):
        os.unlink(p)
        return
    for name in os.listdir(p):
        remove(p + "/" + name)
    os.rmdir(p)
names = ["n%d" % i for i in range(12)]
# In a folder of its own, and beside files that nobody touches.
names += ["../../quiet/d%d/busy%d" % (i, seed % 1000) for i in range(4)]
names += ["../../quiet/d%d/n%d" % (i, seed % 1000) for i in range(4)]
while True:
    p, q = pick.choice(names), pick.choice(names)
    try:
        what = pick.randrange(10)
        if what < 4: make[pick.randrange(len(make))](p)
        elif what < 6: remove(p)
        elif what < 7: os.rename(p, q)
        elif what < 9: exchange(p, q)
        else: mode(p)
    except OSError:
        pass
"#;

/// Files that nobody touches, among the folders that are being changed: names, contents, holes, links, owners, attributes, times.
const QUIET: &str = "
mkdir -p etc dev proc sys mnt tmp quiet busy; chmod 1777 tmp
for i in 0 1 2 3; do
    mkdir quiet/d$i; cd quiet/d$i
    for j in $(seq 60); do echo $i $j > file$j; done
    head -c 300000 /dev/urandom > large; ln large 'other name'; ln -s large soft; mkfifo fifo; mknod null c 1 3
    truncate -s 3M hole; echo x | dd of=hole bs=1 seek=1M conv=notrunc status=none
    setfattr -n user.a -v b file1; chown 1000:1000 file2; chmod 4755 file3; mkdir -p deep/er; echo d > deep/er/file
    touch -d '2001-02-03 04:05:06.789' file4 deep/er; cd ../..
done
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"quiet/d0/socket\")'
sync -f .";

/// Compares everything except what the disturbers make, and the times of the folders in which they work.
const COMPARED: &str = "rsync -naHAXi --checksum --delete --numeric-ids --omit-dir-times --exclude=/d*/busy* --exclude=/d*/n[0-9]*";

/// Programs that are ended when they are dropped.
#[derive(Debug)]
struct Disturbers(Vec<Child>);

impl Disturbers {
    /// Ends the programs, none of which may have ended by itself.
    fn end(mut self) {
        for child in &mut self.0 {
            assert_eq!(child.try_wait().unwrap(), None);
        }
    }
}

impl Drop for Disturbers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(volume: &Path, script: &Path, seed: u64) -> Disturbers {
    let children = (0..DISTURBERS).map(|index| {
        let own = volume.join(format!("busy/b{index}"));
        fs::create_dir(&own).unwrap();
        Command::new("python3")
            .arg(script)
            .arg(own)
            .arg((seed * DISTURBERS + index).to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    });
    Disturbers(children.collect())
}

/// Makes an image of a volume while programs make, remove, rename and swap files of every kind on it, and compares everything that nobody
/// touched. `seed` determines the type of file system (ext4, xfs, btrfs) and the programs' actions.
///
/// # Panics
/// If the run fails, or the image is wrong.
pub fn run_once(seed: u64) {
    let kind = usize::try_from(seed % 3).unwrap_or_default();
    let (size, mkfs, image_size, options) = KINDS[kind];
    let volume = Mount::new(size, mkfs);
    let root = volume.path();
    let _ = shell_with_path(QUIET, &root);
    let (destination, work) = (folder(), folder());
    let script = work.path().join("disturb.py");
    fs::write(&script, DISTURBER).unwrap();
    let disturbers = start(&root, &script, seed);
    let arguments = ["-s", image_size, "--no-filter"];
    let result = clone_volume(&root, destination.path(), &arguments);
    disturbers.end();
    assert_eq!(result.code, 0, "seed {seed}, {mkfs}: {}", result.stderr);
    let image = destination.path().join("image");
    // A btrfs cannot be mounted beside a file system with the same UUID.
    let quiet = root.join("quiet");
    let kept = work.path().join("kept");
    let _ = shell_with_path(
        &format!(
            "rsync -aHAX --numeric-ids '{}/' '{}'",
            quiet.display(),
            kept.display()
        ),
        Path::new("/"),
    );
    drop(volume);
    let mounted = Mount::of_image(&image, 0, options);
    let differing = shell_with_path(
        &format!(
            "{COMPARED} '{}/' '{}/quiet/'",
            kept.display(),
            mounted.path().display()
        ),
        Path::new("/"),
    );
    assert_eq!(differing, "", "seed {seed}, {mkfs}");
}
