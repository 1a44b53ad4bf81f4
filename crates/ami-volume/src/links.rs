//! Files with several names: which name was met first.
//!
//! The first name is made under a lock, so that no other name of the file can be met before it exists. Whoever waits for the lock waits for a
//! few system calls of another thread, never for a task of the pool: nothing is spawned or waited for while it is held.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// The longest time between two ticks of the kernel's clock for file times (CONFIG_HZ is 100 or more).
const TICK: Duration = Duration::from_millis(20);

/// What is remembered of each file until all its names have been met.
#[derive(Debug)]
pub(crate) struct Links<T>(Mutex<HashMap<(u64, u64), Met<T>>>);

#[derive(Debug)]
struct Met<T> {
    first: T,
    /// When the file had been changed last (`st_ctime`); `None` if that was just then.
    changed: Option<Duration>,
    /// How many names have not been met.
    left: u64,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Links<T> {
    /// Calls `first` for the first name of a file, and `again` for each other one with what `first` has returned.
    ///
    /// When a file disappears, its inode number goes to another one. So a name belongs to a file that was met only if the file has
    /// not changed since: a file that got the number later was also changed later, by being made. If it has changed, or `again`
    /// returns nothing, `first` is called once more.
    pub(crate) fn meet<R, E>(
        &self,
        stat: &Stat,
        first: impl FnOnce() -> Result<(T, R), E>,
        again: impl FnOnce(&T) -> Result<Option<R>, E>,
    ) -> Result<R, E> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stat.st_dev, stat.st_ino);
        let changed = settled_change(stat);
        if let Some(met) = links.get_mut(&key)
            && met.changed.is_some()
            && met.changed == changed
            && let Some(result) = again(&met.first)?
        {
            met.left = met.left.saturating_sub(1);
            if met.left == 0 {
                let _ = links.remove(&key);
            }
            return Ok(result);
        }
        let (remembered, result) = first()?;
        // A u32 on other architectures.
        #[allow(clippy::useless_conversion)]
        let left = u64::from(stat.st_nlink) - 1;
        let met = Met {
            first: remembered,
            changed,
            left,
        };
        let _ = links.insert(key, met);
        Ok(result)
    }
}

/// When a file was changed last, unless another change now could have the same time.
fn settled_change(stat: &Stat) -> Option<Duration> {
    let seconds = Duration::from_secs(u64::try_from(stat.st_ctime).ok()?);
    // An i64 on some architectures, a u64 on others; always below a second.
    #[allow(clippy::useless_conversion)]
    let changed = seconds + Duration::from_nanos(u64::try_from(stat.st_ctime_nsec).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    (changed.abs_diff(now) > TICK).then_some(changed)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::thread::sleep;

    use super::*;

    /// What is met: whether as a new file, and the name that was remembered.
    fn meet(links: &Links<String>, path: &Path) -> (bool, String) {
        let stat = rustix::fs::lstat(path).unwrap();
        let name = path.display().to_string();
        links
            .meet(
                &stat,
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
        sleep(TICK * 2);
        let links = Links::default();
        let first = a.display().to_string();
        assert_eq!(meet(&links, &a), (true, first.clone()));
        assert_eq!(meet(&links, &b), (false, first.clone()));
        assert_eq!(meet(&links, &c), (false, first));
        assert!(links.0.lock().unwrap().is_empty());
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
        sleep(TICK * 2);
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
