//! What is mounted where, as `/proc/self/mountinfo` says (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use ami_files::FileError;

/// The process's mounts, and those of a thread that has its own.
const MOUNTINFO: [&str; 2] = ["/proc/self/mountinfo", "/proc/thread-self/mountinfo"];

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it. A number is used again when its mount is gone.
    pub id: u32,
    parent: u32,
    /// Major and minor number of the file system's device; major 0 where it has none of its own (btrfs, tmpfs).
    pub device: (u32, u32),
    /// The folder of the file system that is mounted; on btrfs it begins with the subvolume.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The type's name: `ext4`.
    pub fs_type: String,
    /// What was mounted: a device's path, or any name.
    pub source: PathBuf,
    /// Whether the file system can be written to, whatever this one mount allows.
    pub is_writable: bool,
    /// Where an overlay keeps what is written to it.
    pub upper: Option<PathBuf>,
}

impl Mount {
    /// Whether it is on a block device, or btrfs, which has a number of its own.
    pub fn is_local(&self) -> bool {
        self.device.0 != 0 || self.fs_type == "btrfs"
    }

    /// Whether it shows the same folder of the same file system, wherever it is mounted.
    pub fn shows_the_same(&self, other: &Self) -> bool {
        (self.device, &self.root, &self.fs_type) == (other.device, &other.root, &other.fs_type)
    }
}

/// All mounts that this process sees, in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the kernel's list.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn load() -> Result<Self, FileError> {
        Self::read(Path::new(MOUNTINFO[0]))
    }

    /// Reads the kernel's list for the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn of_thread() -> Result<Self, FileError> {
        Self::read(Path::new(MOUNTINFO[1]))
    }

    fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read(path).map_err(FileError::new("read", path))?;
        Ok(Self::parse(&text))
    }

    /// Reads the text of `mountinfo`; lines that are not of its form are passed over.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|&b| b == b'\n').filter_map(parse_line).collect())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The mount that an absolute path without links lies on.
    pub fn of(&self, path: &Path) -> Option<&Mount> {
        let is_on_another = |mount: &Mount| {
            self.0
                .iter()
                .any(|other| other.id == mount.parent && other.id != mount.id)
        };
        let mut found = self
            .0
            .iter()
            .find(|mount| !is_on_another(mount) && path.starts_with(&mount.mount_point))?;
        // From mount to mount, as the kernel resolves a path: what is mounted over or below the last one comes next.
        while let Some(next) = self
            .0
            .iter()
            .filter(|mount| mount.parent == found.id && mount.id != found.id)
            .filter(|mount| path.starts_with(&mount.mount_point))
            .min_by_key(|mount| mount.mount_point.as_os_str().len())
        {
            found = next;
        }
        Some(found)
    }

    /// The mounts that are seen below a folder, not the one that it lies on.
    pub fn below<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| {
            mount.mount_point != folder
                && mount.mount_point.starts_with(folder)
                && self.of(&mount.mount_point) == Some(mount)
        })
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&b| b == b' ');
    let number = |word: Option<&[u8]>| std::str::from_utf8(word?).ok()?.parse().ok();
    let (id, parent) = (number(words.next())?, number(words.next())?);
    let device = std::str::from_utf8(words.next()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = unescape(words.next()?);
    let mount_point = unescape(words.next()?);
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let fs_type = String::from_utf8_lossy(words.next()?).into_owned();
    let source = unescape(words.next()?);
    let options = words.next().unwrap_or_default();
    Some(Mount {
        id,
        parent,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        mount_point,
        fs_type,
        source,
        is_writable: options.split(|&b| b == b',').any(|option| option == b"rw"),
        upper: upper(options),
    })
}

/// The upper folder among a file system's options. One with a comma in its name is not found.
fn upper(options: &[u8]) -> Option<PathBuf> {
    let mut options = options.split(|&b| b == b',');
    options.find_map(|option| Some(unescape(option.strip_prefix(b"upperdir=")?)))
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        match after {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
21 1 202:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
22 21 0:5 / /dev rw,nosuid shared:2 - devtmpfs devtmpfs rw\n\
23 21 202:16 /inner /mnt/with\\040blank rw - ext3 /dev/xvdb rw\n\
24 21 0:30 /@rootfs /srv rw,noatime - btrfs /dev/xvdc rw,subvol=/@rootfs\n\
25 24 0:31 / /srv/run rw master:9 propagate_from:2 - overlay overlay rw,lowerdir=/a,upperdir=/b\\040c,workdir=/d\n\
26 23 8:1 / /mnt/with\\040blank rw - ext4 /dev/sda1 rw\n\
27 21 8:2 / /srv rw - ext4 /dev/sda2 rw\n\
nonsense\n";

    fn of(path: &str) -> Option<u32> {
        Mounts::parse(TEXT)
            .of(Path::new(path))
            .map(|mount| mount.id)
    }

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let mounts = Mounts::parse(TEXT).0;
        assert_eq!(mounts.len(), 7);
        assert_eq!(
            mounts[2],
            Mount {
                id: 23,
                parent: 21,
                device: (202, 16),
                root: "/inner".into(),
                mount_point: "/mnt/with blank".into(),
                fs_type: "ext3".into(),
                source: "/dev/xvdb".into(),
                is_writable: true,
                upper: None,
            }
        );
        assert_eq!(mounts[3].root, Path::new("/@rootfs"));
        assert_eq!(mounts[4].fs_type, "overlay");
        assert_eq!(mounts[4].upper.as_deref(), Some(Path::new("/b c")));
    }

    #[test]
    fn a_mount_is_writable_if_its_file_system_is() {
        let line =
            "36 35 98:0 /mnt1 /mnt/a ro,noatime master:1 - ext4 /dev/root rw,errors=continue";
        let parse = |line: &str| Mounts::parse(line.as_bytes()).0;
        let expected = Mount {
            id: 36,
            parent: 35,
            device: (98, 0),
            root: "/mnt1".into(),
            mount_point: "/mnt/a".into(),
            fs_type: "ext4".into(),
            source: "/dev/root".into(),
            is_writable: true,
            upper: None,
        };
        assert_eq!(parse(line), [expected]);
        assert!(!parse(&line.replace("rw,", "ro,"))[0].is_writable);
        assert_eq!(parse("36 35 98:0 /mnt1"), Vec::new());
    }

    #[test]
    fn a_mount_is_found_beside_others_with_names_that_are_no_text() {
        let text = b"35 1 8:1 / /mnt/caf\xE9 rw - vfat /dev/sda1 rw\n36 1 98:0 / /mnt/a rw - ext4 /dev/sdb rw\n";
        let mounts = Mounts::parse(text);
        let at = |device| {
            let mut mounts = mounts.all();
            let found = mounts.find(|mount| mount.is_writable && mount.device == device)?;
            Some(found.mount_point.as_path())
        };
        assert_eq!(at((98, 0)), Some(Path::new("/mnt/a")));
        assert_eq!(at((98, 1)), None);
    }

    #[test]
    fn a_path_lies_on_the_mount_that_is_seen_there() {
        assert_eq!(of("/"), Some(21));
        assert_eq!(of("/etc"), Some(21));
        assert_eq!(of("/dev/null"), Some(22));
        assert_eq!(of("/device"), Some(21));
        assert_eq!(of("/mnt/with blank/x"), Some(26));
        assert_eq!(Mounts::default().of(Path::new("/")), None);
    }

    #[test]
    fn what_is_mounted_over_hides_what_was_there() {
        // Both 24 and 27 are on /srv, on the same parent: the kernel shows the first that it finds, and a later one cannot
        // be made like this; what lies below the hidden one is not seen twice.
        let below: Vec<u32> = Mounts::parse(TEXT)
            .below(Path::new("/mnt"))
            .map(|m| m.id)
            .collect();
        assert_eq!(below, [26]);
        let text = b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /a/b rw - ext4 b rw\n3 1 8:3 / /a rw - ext4 c rw\n";
        let mounts = Mounts::parse(text);
        let below: Vec<u32> = mounts.below(Path::new("/")).map(|m| m.id).collect();
        assert_eq!(below, [3]);
    }

    #[test]
    fn this_process_has_a_root() {
        assert!(Mounts::load().unwrap().of(Path::new("/")).is_some());
    }
}
