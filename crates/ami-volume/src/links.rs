//! Files with several names: which name was met first.
//!
//! The first name is made under a lock, so that no other name of the file can be met before it exists. Whoever waits for the lock waits for a
//! few system calls of another thread, never for a task of the pool: nothing is spawned or waited for while it is held.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

/// linux/limits.h, PATH_MAX: what a path in a system call may have, with the zero byte at its end.
const PATH_MAX: usize = 4096;

/// The longest time between two ticks of the kernel's clock for file times (CONFIG_HZ is 100 or more), doubled.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Between two ticks of file systems that keep whole seconds only, such as ext3 with inodes of 128 bytes.
pub(crate) const SECOND: Duration = Duration::from_millis(1020);

/// How often a time is waited for that does not come, because the clock is set back meanwhile.
const MOST_WAITS: u32 = 3;

/// Which file a name belongs to.
///
/// When a file disappears, its inode number goes to another one, so the number alone does not tell. The other one is made later, so
/// the time of birth does; a file keeps it whatever is done to it. Where a file system or kernel has none, the time of the last change
/// stands in: a file that is changed while its names are met is then taken for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    number: u64,
    time: Time,
    /// How many names it has.
    names: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Birth(Duration),
    Change(Duration),
}

impl Identity {
    /// The file that `name` in `folder` leads to, or that is open as `folder` if the name is empty. `stat` is what was found there before;
    /// `None` if it is another one by now.
    pub(crate) fn of(folder: impl AsFd, name: &CStr, stat: &Stat) -> Option<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let wanted = StatxFlags::BTIME | StatxFlags::INO;
        let mut time = Time::Change(duration(stat.st_ctime, stat.st_ctime_nsec));
        // Kernels before 4.11 have no statx.
        if let Ok(found) = rustix::fs::statx(folder, name, flags, wanted) {
            if found.stx_ino != stat.st_ino {
                return None;
            }
            if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME) {
                time = Time::Birth(duration(found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
            }
        }
        Some(Self {
            device: stat.st_dev,
            number: stat.st_ino,
            time,
            // A u32 on other architectures.
            #[allow(clippy::useless_conversion)]
            names: u64::from(stat.st_nlink),
        })
    }

    fn key(&self) -> (u64, u64) {
        (self.device, self.number)
    }

    /// Waits until no file can be made any more that has the same time: a tick of the kernel's clock, if this one was made just now.
    fn settle(&self) {
        let (Time::Birth(time) | Time::Change(time)) = self.time;
        let grain = match time.subsec_nanos() {
            0 => SECOND,
            _ => TICK,
        };
        for _ in 0..MOST_WAITS {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let left = (time + grain).checked_sub(now.unwrap_or_default());
            match left {
                // A time that is still to come is from a clock that was wrong. It will not be met again.
                Some(left) if left <= grain * 2 => sleep(left),
                _ => return,
            }
        }
    }
}

/// A time of a file, since 1970.
pub(crate) fn duration(seconds: i64, nanoseconds: impl TryInto<u32>) -> Duration {
    // Before 1970 there were no files: such a time is that of a wrong clock.
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Duration::new(seconds, nanoseconds.try_into().unwrap_or_default())
}

/// What is remembered of each file until all its names have been met.
#[derive(Debug)]
pub(crate) struct Links<T>(Mutex<HashMap<(u64, u64), Met<T>>>);

#[derive(Debug)]
struct Met<T> {
    first: T,
    time: Time,
    /// How many names have not been met.
    left: u64,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Links<T> {
    /// Calls `first` for the first name of a file, and `again` for each other one with what `first` has returned. If `again` returns
    /// nothing, `first` is called once more.
    pub(crate) fn meet<R, E>(
        &self,
        file: &Identity,
        first: impl FnOnce() -> Result<(T, R), E>,
        again: impl FnOnce(&T) -> Result<Option<R>, E>,
    ) -> Result<R, E> {
        file.settle();
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(met) = links.get_mut(&file.key())
            && met.time == file.time
            && let Some(result) = again(&met.first)?
        {
            met.left = met.left.saturating_sub(1);
            if met.left == 0 {
                let _ = links.remove(&file.key());
            }
            return Ok(result);
        }
        let (remembered, result) = first()?;
        let met = Met {
            first: remembered,
            time: file.time,
            left: file.names.saturating_sub(1),
        };
        let _ = links.insert(file.key(), met);
        Ok(result)
    }
}

/// A path below the volume without the slash at its beginning, as calls relative to a folder take it.
pub(crate) fn link_path(path: &[u8]) -> CString {
    // A name from the kernel has no zero byte.
    CString::new(&path[1..]).unwrap_or_default()
}

/// Opens the folders at the beginning of a path whose rest is short enough for a system call; none for a short path.
pub(crate) fn within_reach<'p>(
    root: &OwnedFd,
    path: &'p CStr,
) -> Result<(Option<OwnedFd>, &'p CStr), Errno> {
    let mut folder = None;
    let mut rest = path.to_bytes_with_nul();
    while rest.len() > PATH_MAX {
        let slash = rest[..PATH_MAX].iter().rposition(|&b| b == b'/');
        let (begin, after) = rest.split_at(slash.ok_or(Errno::NAMETOOLONG)?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = folder.as_ref().unwrap_or(root);
        folder = Some(rustix::fs::openat(from, begin, flags, Mode::empty())?);
        rest = &after[1..];
    }
    // All of it but its beginning is still there.
    Ok((folder, CStr::from_bytes_with_nul(rest).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::CWD;

    use super::*;

    fn identity(path: &Path) -> Identity {
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        let stat = rustix::fs::lstat(path).unwrap();
        Identity::of(CWD, &name, &stat).unwrap()
    }

    /// What is met: whether as a new file, and the name that was remembered.
    fn meet(links: &Links<String>, path: &Path) -> (bool, String) {
        let file = identity(path);
        let name = path.display().to_string();
        links
            .meet(
                &file,
                || Ok::<_, ()>((name.clone(), (true, name.clone()))),
                |first| Ok(Some((false, first.clone()))),
            )
            .unwrap()
    }

    #[test]
    fn names_of_an_unchanged_file_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let _ = File::create(&a).unwrap();
        fs::hard_link(&a, &b).unwrap();
        fs::hard_link(&a, &c).unwrap();
        let links = Links::default();
        let first = a.display().to_string();
        assert_eq!(meet(&links, &a), (true, first.clone()));
        assert_eq!(meet(&links, &b), (false, first.clone()));
        assert_eq!(meet(&links, &c), (false, first));
        assert!(links.0.lock().unwrap().is_empty());
    }

    #[test]
    fn names_belong_together_however_recently_the_file_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let links = Links::default();
        for round in 0..40 {
            let [a, b, c] =
                ["a", "b", "c"].map(|name| folder.path().join(format!("{name}{round}")));
            let _ = File::create(&a).unwrap();
            fs::hard_link(&a, &b).unwrap();
            let first = a.display().to_string();
            assert_eq!(meet(&links, &a), (true, first.clone()), "{round}");
            if round % 4 == 0 {
                // What changes keeps its names too.
                fs::write(&b, "changed").unwrap();
                fs::hard_link(&a, &c).unwrap();
            }
            assert_eq!(meet(&links, &b), (false, first), "{round}");
        }
    }

    #[test]
    fn without_a_time_of_birth_the_time_of_change_tells() {
        let file = |seconds: u64, nanoseconds| Identity {
            device: 1,
            number: 2,
            time: Time::Change(Duration::new(seconds, nanoseconds)),
            names: 3,
        };
        let links = Links::default();
        let meet = |file| {
            links
                .meet(&file, || Ok::<_, ()>(((), true)), |()| Ok(Some(false)))
                .unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // Just now, long ago, and in a century.
        for seconds in [now.as_secs(), 1, now.as_secs() + (100 << 25)] {
            assert!(meet(file(seconds, now.subsec_nanos())));
            assert!(!meet(file(seconds, now.subsec_nanos())));
            assert!(!meet(file(seconds, now.subsec_nanos())));
        }
        assert!(meet(file(1, 1)));
        assert!(meet(file(1, 2)));
        assert!(!meet(file(1, 2)));
    }

    #[test]
    fn a_file_that_got_the_number_of_one_that_went_away_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        // A file system that gives a number anew at once; not every one does.
        let _ = std::process::Command::new("sh")
            .args(["-euc", "truncate -s 8M fs; PATH=$PATH:/usr/sbin:/sbin; mke2fs -q -F fs; mkdir mnt; mount -o loop fs mnt"])
            .current_dir(folder.path())
            .status()
            .unwrap();
        let mount = folder.path().join("mnt");
        let (old, other) = (mount.join("old"), mount.join("old2"));
        let links = Links::default();
        let _ = File::create(&old).unwrap();
        fs::hard_link(&old, &other).unwrap();
        let number = old.metadata().unwrap().ino();
        let met = meet(&links, &old);
        fs::remove_file(&old).unwrap();
        fs::remove_file(&other).unwrap();
        let (new, new2) = (mount.join("new"), mount.join("new2"));
        let _ = File::create(&new).unwrap();
        fs::hard_link(&new, &new2).unwrap();
        let is_same_number = new.metadata().unwrap().ino() == number;
        let again = meet(&links, &new);
        let _ = std::process::Command::new("umount")
            .arg(&mount)
            .status()
            .unwrap();
        assert!(met.0 && is_same_number);
        assert_eq!(again, (true, new.display().to_string()));
    }
}
