//! Frozen volumes: nothing is written to them until they are thawed.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ami_mounts::{Mount, Mounts, Stack, mounted_from};
use rustix::fs::{Mode, OFlags};
use tracing::debug;

use crate::error::{Error, Need};
use crate::keeper::{Duty, Keeper};
use crate::kernel;

/// How long a volume may be frozen unless said otherwise.
pub const FREEZE_LIMIT: Duration = Duration::from_secs(300);

/// File systems that are frozen. Whatever happens to this process, they are thawed: when this is dropped, and by a second process if this one
/// is killed or the limit has passed.
///
/// The second process is this program, which must call [`crate::keep`].
#[derive(Debug)]
pub struct Freeze {
    frozen: Vec<Frozen>,
    end: Instant,
}

#[derive(Debug)]
struct Frozen {
    path: PathBuf,
    folder: OwnedFd,
    is_thawed: bool,
    _keeper: Keeper,
}

impl Freeze {
    /// Freezes the file systems that the folders `volumes` lie on, each once, for at most `limit`. All that was written before has reached
    /// their devices then.
    ///
    /// `ours` are the files and folders that this run writes to meanwhile: its state, its logs, temporary files.
    ///
    /// # Errors
    /// [`Error::Needed`] if one of `ours`, the root directory, this program or a file that it writes is on one of them: it would wait for
    /// itself. [`Error::FrozenAlready`]; [`Error::NotAllowed`]; [`Error::File`] for a file system that cannot be frozen.
    pub fn new(
        volumes: &[PathBuf],
        ours: &[PathBuf],
        limit: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        let chosen = Self::check_volumes(volumes, ours)?;
        let mut freeze = Self {
            frozen: Vec::new(),
            end: Instant::now() + limit,
        };
        // What was frozen is thawed if one of them fails.
        for volume in chosen {
            freeze.frozen.push(Frozen::new(volume, limit, interrupted)?);
        }
        freeze.check()?;
        Ok(freeze)
    }

    /// Checks what can be checked before the volumes are frozen. Returns one volume for each file system.
    ///
    /// # Errors
    /// [`Error::Needed`]; [`Error::File`] for a volume that is not there.
    pub(crate) fn check_volumes<'v>(
        volumes: &'v [PathBuf],
        ours: &[PathBuf],
    ) -> Result<Vec<&'v Path>, Error> {
        let mounts = Mounts::load()?;
        let mut chosen: Vec<(&Path, &Mount)> = Vec::new();
        for volume in volumes {
            let mount = mount_of(volume, &mounts)?;
            if chosen.iter().all(|(_, other)| other.device != mount.device) {
                chosen.push((volume, mount));
            }
        }
        for (volume, mount) in &chosen {
            if let Some(needed) = needed_on(mount, ours, &mounts) {
                return Err(Error::Needed {
                    volume: volume.to_path_buf(),
                    needed,
                });
            }
        }
        Ok(chosen.into_iter().map(|(volume, _)| volume).collect())
    }

    /// Checks what can be checked before a device is frozen.
    ///
    /// # Errors
    /// [`Error::Needed`]; [`Error::File`] for a device that is not there.
    pub fn check_device(device: &Path, ours: &[PathBuf]) -> Result<(), Error> {
        Self::check_volumes(&mounted_from(device)?, ours).map(drop)
    }

    /// Freezes the file systems on a block device and its partitions that are mounted; none if nothing is.
    ///
    /// # Errors
    /// As [`Freeze::new`].
    pub fn of_device(
        device: &Path,
        ours: &[PathBuf],
        limit: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        Self::new(&mounted_from(device)?, ours, limit, interrupted)
    }

    /// Where what is frozen is mounted.
    pub fn volumes(&self) -> impl Iterator<Item = &Path> {
        self.frozen.iter().map(|frozen| frozen.path.as_path())
    }

    /// When the limit ends.
    pub fn end(&self) -> Instant {
        self.end
    }

    /// Whether everything is still frozen.
    ///
    /// # Errors
    /// [`Error::Thawed`] if the limit has passed.
    pub fn check(&self) -> Result<(), Error> {
        match self.frozen.first() {
            Some(frozen) if Instant::now() >= self.end => Err(Error::Thawed {
                volume: frozen.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Thaws everything.
    ///
    /// # Errors
    /// [`Error::Thawed`] if a file system was not frozen until now: what was read from it may not belong together.
    pub fn thaw(mut self) -> Result<(), Error> {
        let in_time = self.check();
        // Each of them, also after an error.
        let thawed: Vec<_> = self.frozen.iter_mut().map(Frozen::thaw).collect();
        in_time?;
        thawed.into_iter().collect()
    }
}

impl Frozen {
    fn new(volume: &Path, limit: Duration, interrupted: &AtomicBool) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(volume, flags, Mode::empty()).map_err(Error::io("open", volume))?;
        let for_keeper = folder.try_clone().map_err(Error::io("open", volume))?;
        let mut keeper = Keeper::start(Duty::Thaw(limit), for_keeper, interrupted)?;
        keeper.begin();
        let error = match kernel::freeze(&folder) {
            Ok(()) => {
                debug!(volume = %volume.display(), "frozen");
                return Ok(Self {
                    path: volume.to_owned(),
                    folder,
                    is_thawed: false,
                    _keeper: keeper,
                });
            }
            Err(error) => error,
        };
        Err(match error.kind() {
            std::io::ErrorKind::ResourceBusy => Error::FrozenAlready {
                volume: volume.to_owned(),
            },
            std::io::ErrorKind::PermissionDenied => Error::NotAllowed {
                need: Need::Freeze,
                source: error,
            },
            _ => Error::io("freeze", volume)(error),
        })
    }

    fn thaw(&mut self) -> Result<(), Error> {
        self.is_thawed = true;
        kernel::thaw(&self.folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => Error::Thawed {
                volume: self.path.clone(),
            },
            _ => Error::io("thaw", &self.path)(error),
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.is_thawed
            && let Err(error) = self.thaw()
        {
            debug!(%error, "thawing");
        }
    }
}

fn mount_of<'m>(path: &Path, mounts: &'m Mounts) -> Result<&'m Mount, Error> {
    let real = fs::canonicalize(path).map_err(Error::io("read", path))?;
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let mount = mounts.of(&real).ok_or(missing);
    mount.map_err(Error::io("find the mount of", &real))
}

/// What of this run is on a file system.
fn needed_on(frozen: &Mount, ours: &[PathBuf], mounts: &Mounts) -> Option<PathBuf> {
    let own = ["/", "/proc/self/exe"].map(PathBuf::from);
    let is_on_it = |mount: &Mount| Stack::of(mount, mounts).has_file_system(frozen.device);
    for path in own.iter().chain(ours) {
        // What does not exist yet will be made in the first folder above it that does.
        let real = path
            .ancestors()
            .find_map(|path| fs::canonicalize(path).ok());
        if real.and_then(|real| mounts.of(&real)).is_some_and(is_on_it) {
            return Some(path.clone());
        }
    }
    written_files().into_iter().find_map(|(path, mount)| {
        let mount = mounts.all().find(|other| other.id == mount)?;
        is_on_it(mount).then_some(path)
    })
}

/// The files that this process has open to write, and the numbers of their mounts.
fn written_files() -> Vec<(PathBuf, u32)> {
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    open.filter_map(|entry| {
        let path = entry.ok()?.path();
        if !fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let name = path.file_name()?;
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(name)).ok()?;
        let word = |key| info.lines().find_map(|line| line.strip_prefix(key));
        let flags = u32::from_str_radix(word("flags:")?.trim(), 8).ok()?;
        let mode = OFlags::from_bits_retain(flags) & OFlags::RWMODE;
        let mount = word("mnt_id:")?.trim().parse().ok()?;
        (mode != OFlags::RDONLY).then(|| (fs::read_link(&path).unwrap_or(path), mount))
    })
    .collect()
}
