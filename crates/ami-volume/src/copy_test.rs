//! The copy, held against `rsync -aHAX --numeric-ids` on random trees with random patterns. Needs root, rsync and setfacl.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use ami_pool::Pool;
use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Timespec, Timestamps, XattrFlags, makedev};

use super::{Copied, Copying};
use crate::copied::CopyProgress;
use crate::error::Error;
use crate::filter::{Filter, Origin, Rule};
use crate::selection::Selection;

/// xorshift64*: the same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const NAMES: [&[u8]; 24] = [
    b"a",
    b"b",
    b"ab",
    b"abc",
    b"x.pem",
    b"y.pem.old",
    b"id_rsa",
    b"my_id_rsa.pub",
    b".ssh",
    b"authorized_keys",
    b"#x#",
    b".#x",
    b"x~",
    b"x.swp",
    b"with blank",
    b"new\nline",
    b"\xff\xfe",
    b"-n",
    b"*",
    b"[a]",
    b"back\\slash",
    b"etc",
    b"home",
    b"tmp",
];

const PATTERNS: [&str; 34] = [
    "/a",
    "a",
    "/etc",
    "etc/",
    "/home/*",
    "home/**",
    "**/tmp",
    "tmp/***",
    "*.pem",
    "*/#*#",
    "*/.#*",
    "*id_rsa*",
    "*~",
    "a*",
    "?",
    "??",
    "[ab]",
    "[!ab]*",
    "[a-c]?",
    "ab/x.pem",
    "a/b",
    "a/**/x~",
    "**a",
    "b**",
    "\\*",
    "\\[a\\]",
    "[a]",
    "[[]a]",
    "with blank",
    "new?line",
    "etc/*/",
    "/*/b",
    "*\\\\*",
    "[^a-z]*",
];

fn random_tree(root: &Path, numbers: &mut Numbers) {
    let mut folders = vec![root.to_owned()];
    let mut others: Vec<PathBuf> = Vec::new();
    for _ in 0..60 {
        let folder = folders[numbers.below(folders.len())].clone();
        let path = folder.join(OsString::from_vec(numbers.one_of(&NAMES).to_vec()));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match numbers.below(12) {
            0..=3 if path.components().count() < root.components().count() + 5 => {
                fs::create_dir(&path).unwrap();
                folders.push(path);
                continue;
            }
            4 => symlink(OsString::from_vec(numbers.one_of(&NAMES).to_vec()), &path).unwrap(),
            5 => {
                let (kind, number) = numbers.one_of(&[
                    (FileType::Fifo, 0),
                    (FileType::Socket, 0),
                    (FileType::CharacterDevice, makedev(1, 3)),
                    (FileType::BlockDevice, makedev(259, 70_000)),
                ]);
                rustix::fs::mknodat(rustix::fs::CWD, &path, kind, Mode::RUSR, number).unwrap();
            }
            6..=7 if !others.is_empty() => {
                let aim = &others[numbers.below(others.len())];
                rustix::fs::linkat(
                    rustix::fs::CWD,
                    aim,
                    rustix::fs::CWD,
                    &path,
                    AtFlags::empty(),
                )
                .unwrap();
                continue;
            }
            _ => random_file(&path, numbers),
        }
        others.push(path);
    }
    // From the bottom up, for what is done in a folder changes its time.
    for path in others.iter().chain(folders.iter().rev()) {
        dress(path, numbers);
    }
}

fn random_file(path: &Path, numbers: &mut Numbers) {
    let file = File::create(path).unwrap();
    let length = numbers.one_of(&[0, 1, 4095, 4096, 70_000, 300_000]);
    let bytes: Vec<u8> = (0..length).map(|_| numbers.below(256) as u8).collect();
    if numbers.below(3) == 0 {
        // Data between holes.
        for index in 0..numbers.below(5) as u64 {
            let at = (index * 5 + 1) << 16;
            file.write_all_at(&bytes[..bytes.len().min(9000)], at)
                .unwrap();
        }
        file.set_len(numbers.one_of(&[2_000_000, 1 << 20, 0, 123]))
            .unwrap();
    } else {
        file.write_all_at(&bytes, 0).unwrap();
    }
    // Before it is written out, the file system does not know where its holes are.
    file.sync_all().unwrap();
}

/// Gives an entry an owner, mode, attributes and times.
fn dress(path: &Path, numbers: &mut Numbers) {
    let kind = path.symlink_metadata().unwrap().file_type();
    std::os::unix::fs::lchown(
        path,
        Some(numbers.one_of(&[0, 1000, 70_000])),
        Some(numbers.one_of(&[0, 42])),
    )
    .unwrap();
    if !kind.is_symlink() {
        let mode = numbers.one_of(&[0o644, 0o755, 0o4755, 0o2710, 0o1777, 0o000, 0o600]);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap()
    };
    if numbers.below(4) == 0 {
        set("trusted.test", b"\0value");
    }
    if (kind.is_file() || kind.is_dir()) && numbers.below(4) == 0 {
        set("user.test", b"value");
    }
    if kind.is_file() && numbers.below(4) == 0 {
        // CAP_NET_RAW, as linux/capability.h has it (VFS_CAP_REVISION_2).
        set(
            "security.capability",
            &[
                1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        );
    }
    if (kind.is_file() || kind.is_dir()) && numbers.below(5) == 0 {
        let mut setfacl = Command::new("setfacl");
        let _ = setfacl.args(["-m", "u:1234:rwx,g:55:r"]);
        if kind.is_dir() && numbers.below(2) == 0 {
            let _ = setfacl.args(["-d", "-m", "u:77:r"]);
        }
        assert!(
            setfacl
                .arg("--")
                .arg(path)
                .status()
                .expect("this test needs setfacl (acl)")
                .success()
        );
    }
    let time = Timespec {
        tv_sec: numbers.one_of(&[0, 1, 1_400_000_000, 2_000_000_000, 4_000_000_000]),
        tv_nsec: numbers.one_of(&[0, 1, 999_999_999, 123_456_789]),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What counts in a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// All that rsync copies as it is: no holes, and not the group's entry in an ACL, which rsync 3.5 empties when it equals the
    /// mask (`getfacl` shows `group::---`).
    AsRsync,
    /// Everything but how many names a file has, which depends on what is selected.
    Entry,
    /// Everything.
    All,
}

/// Everything about every entry, by its path.
fn describe(root: &Path, detail: Detail) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let below = path.strip_prefix(root).unwrap().to_owned();
        let mut text = format!(
            "{:o} {}:{} {}.{:09} {:x}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            if kind.is_block_device() || kind.is_char_device() {
                metadata.rdev()
            } else {
                0
            }
        );
        if kind.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort();
            pending.extend(names.into_iter().rev());
        } else if detail != Detail::Entry {
            let first = first_names
                .entry(metadata.ino())
                .or_insert_with(|| below.clone());
            text.push_str(&format!(
                " links {} as {}",
                metadata.nlink(),
                first.display()
            ));
        }
        if kind.is_symlink() {
            text.push_str(&format!(" to {:?}", fs::read_link(&path).unwrap()));
        }
        if kind.is_file() {
            text.push_str(&format!(" {:?}", fs::read(&path).unwrap()));
            if detail != Detail::AsRsync {
                text.push_str(&format!(" {:?}", regions(&path)));
            }
        }
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
        let mut names: Vec<_> = names[..length]
            .split(|&b| b == 0)
            .filter(|name| !name.is_empty())
            .collect();
        names.sort();
        for name in names {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
            let value = &mut value[..length];
            if detail == Detail::AsRsync && name == b"system.posix_acl_access" {
                // Entries of 8 bytes behind a header of 4: tag (4 is the group's), permissions, ID (linux/posix_acl_xattr.h).
                value[4..]
                    .chunks_mut(8)
                    .filter(|entry| entry[0] == 4)
                    .for_each(|entry| entry[2] = 0);
            }
            text.push_str(&format!(" {}={value:?}", String::from_utf8_lossy(name)));
        }
        let _ = found.insert(below, text);
    }
    found
}

fn regions(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let mut regions = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        regions.push((start, at));
    }
    regions
}

pub(super) fn selection(rules: Vec<Rule>) -> Selection {
    Selection {
        filter: Filter::new(rules).unwrap(),
        empty: HashSet::new(),
        own: HashSet::new(),
        private: None,
        secrets: Vec::new(),
    }
}

pub(super) fn pool(threads: usize) -> Pool {
    Pool::new(threads.try_into().unwrap())
}

/// One pass.
pub(super) fn copy(
    source: &Path,
    target: &Path,
    selection: &Selection,
    pool: &Pool,
    progress: CopyProgress<'_>,
    interrupted: &AtomicBool,
) -> Result<Copied, Error> {
    let copying = Copying {
        source,
        target,
        selection,
        pool,
        progress,
        interrupted,
        thawed: None,
    };
    copying.first(None)
}

pub(super) fn copy_all(
    source: &Path,
    target: &Path,
    rules: Vec<Rule>,
    threads: usize,
) -> Result<Copied, Error> {
    copy(
        source,
        target,
        &selection(rules),
        &pool(threads),
        &|_, _| {},
        &AtomicBool::new(false),
    )
}

#[test]
fn random_trees_are_copied_as_rsync_copies_them() {
    for seed in 1..=60_u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let folder = tempfile::tempdir().unwrap();
        let [source, ours, theirs] =
            ["source", "ours", "theirs"].map(|name| folder.path().join(name));
        for path in [&source, &ours, &theirs] {
            fs::create_dir(path).unwrap();
        }
        random_tree(&source, &mut numbers);
        let mut rules = Vec::new();
        let mut rsync = Command::new("rsync");
        let _ = rsync.args(["-aHAX", "--numeric-ids"]);
        // One in four without patterns.
        for _ in 0..numbers.below(4) * 2 {
            let pattern = numbers.one_of(&PATTERNS).to_owned();
            let is_include = numbers.below(3) == 0;
            let _ = rsync.arg(format!(
                "--{}={pattern}",
                if is_include { "include" } else { "exclude" }
            ));
            let origin = if is_include {
                Origin::Include
            } else {
                Origin::Exclude
            };
            rules.push(Rule { pattern, origin });
        }
        let (mut from, mut to) = (
            source.clone().into_os_string(),
            theirs.clone().into_os_string(),
        );
        from.push("/");
        to.push("/");
        let output = rsync
            .arg(from)
            .arg(to)
            .output()
            .expect("this test needs rsync");
        assert!(output.status.success(), "{output:?}");
        let copied = copy_all(&source, &ours, rules.clone(), 1 + numbers.below(4)).unwrap();
        let (found, expected) = (
            describe(&ours, Detail::AsRsync),
            describe(&theirs, Detail::AsRsync),
        );
        for (path, text) in &expected {
            assert_eq!(
                found.get(path),
                Some(text),
                "seed {seed}: {path:?} {rules:?}"
            );
        }
        let more: Vec<_> = found
            .keys()
            .filter(|path| !expected.contains_key(*path))
            .collect();
        assert!(more.is_empty(), "seed {seed}: {more:?} {rules:?}");
        assert_eq!(
            (
                copied.vanished.len(),
                copied.changed.len(),
                copied.without_attributes.len()
            ),
            (0, 0, 0)
        );
        let originals = describe(&source, Detail::Entry);
        for (path, text) in describe(&ours, Detail::Entry) {
            assert_eq!(
                originals.get(&path),
                Some(&text),
                "seed {seed}: {path:?} {rules:?}"
            );
        }
        if rules.is_empty() {
            assert_eq!(
                describe(&ours, Detail::All),
                describe(&source, Detail::All),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn patterns_decide_as_in_rsync() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("etc2/a")).unwrap();
    // Every name, in the root and two folders down.
    for name in NAMES {
        let name = OsString::from_vec(name.to_vec());
        for top in ["", "etc2", "etc2/a"] {
            let path = source.join(top).join(&name);
            if top.is_empty() && path.file_name().unwrap().len().is_multiple_of(2) {
                fs::create_dir_all(path.join("b/ab")).unwrap();
            } else if path.symlink_metadata().is_err() {
                fs::write(path, "").unwrap();
            }
        }
    }
    for pattern in PATTERNS {
        let rule = Rule {
            pattern: pattern.to_owned(),
            origin: Origin::Exclude,
        };
        let target = tempfile::tempdir().unwrap();
        let _ = copy_all(&source, target.path(), vec![rule], 2).unwrap();
        let mut from = source.clone().into_os_string();
        from.push("/");
        let output = Command::new("rsync")
            .args([
                "-rn",
                "--links",
                "-8",
                "--out-format=%n",
                &format!("--exclude={pattern}"),
            ])
            .arg(from)
            .arg("/nonexistent/")
            .output()
            .expect("this test needs rsync");
        assert!(output.status.success(), "{output:?}");
        let escaped = |path: &Path| {
            let text = path.as_os_str().as_bytes();
            // rsync writes what cannot be printed as \#ooo.
            text.iter()
                .map(|&b| {
                    if b < 32 {
                        format!("\\#{b:03o}").into_bytes()
                    } else {
                        vec![b]
                    }
                })
                .collect::<Vec<_>>()
                .concat()
        };
        let mut expected: Vec<Vec<u8>> = output
            .stdout
            .split(|&b| b == b'\n')
            .map(|line| line.strip_suffix(b"/").unwrap_or(line).to_vec())
            .filter(|line| !line.is_empty() && line != b".")
            .collect();
        expected.sort();
        let mut found: Vec<Vec<u8>> = describe(target.path(), Detail::Entry)
            .keys()
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| escaped(path))
            .collect();
        found.sort();
        assert_eq!(found, expected, "{pattern}");
    }
}
