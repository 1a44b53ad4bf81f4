//! What the kernel offers and the standard library and rustix have no safe call for. All `unsafe` of this crate is here.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::ioctl::{
    IntegerSetter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl, opcode,
};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags,
};

// include/uapi/linux/loop.h
const LOOP_SET_FD: Opcode = 0x4C00;
const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

// include/uapi/linux/fs.h
const FIFREEZE: Opcode = opcode::read_write::<c_int>(b'X', 119);
const FITHAW: Opcode = opcode::read_write::<c_int>(b'X', 120);

// include/uapi/linux/btrfs.h
const BTRFS: u8 = 0x94;
const SNAP_DESTROY: Opcode = opcode::write::<VolumeName>(BTRFS, 15);
const SNAP_CREATE_V2: Opcode = opcode::write::<SnapshotOf>(BTRFS, 23);
const GET_SUBVOL_ROOTREF: Opcode = opcode::read_write::<RootRefs>(BTRFS, 61);
const INO_LOOKUP_USER: Opcode = opcode::read_write::<PlaceOf>(BTRFS, 62);
const BTRFS_SUBVOL_RDONLY: u64 = 2;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeName {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct SnapshotOf {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`.
#[repr(C)]
struct RootRefs {
    min_tree: u64,
    /// Number of the subvolume, and of the folder that it is in.
    refs: [(u64, u64); 255],
    count: u8,
    align: [u8; 7],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`.
#[repr(C)]
struct PlaceOf {
    folder: u64,
    tree: u64,
    name: [u8; 256],
    path: [u8; 3824],
}

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

impl LoopInfo {
    fn new(offset: u64, size_limit: u64) -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset,
            size_limit,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// An `ioctl` without an argument whose answer is its return value.
struct Answer<const OPCODE: Opcode>;

// SAFETY: no memory is passed, so none is read or written; the answer is the return value alone.
unsafe impl<const OPCODE: Opcode> Ioctl for Answer<OPCODE> {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(answer: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        Ok(answer.cast_unsigned())
    }
}

/// The number of a loop device that is free now. `control` is `/dev/loop-control`.
pub(crate) fn free_loop_device(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns the number.
    Ok(unsafe { ioctl(control, Answer::<LOOP_CTL_GET_FREE>) }?)
}

/// Makes a loop device show `length` bytes of `file` from `offset` on, until nobody has it open or mounted any more.
///
/// Fails with `EBUSY` if somebody else has taken the device.
pub(crate) fn configure_loop_device(
    device: impl AsFd,
    file: impl AsFd,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    let info = LoopInfo::new(offset, length);
    let fd = file.as_fd().as_raw_fd().cast_unsigned();
    let config = LoopConfig {
        fd,
        block_size: 0,
        info,
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, which `config` is; the descriptor in it is open.
    match unsafe { ioctl(&device, Setter::<LOOP_CONFIGURE, _>::new(config)) } {
        // Before Linux 5.8 it took two steps.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTTY) => {}
        result => return Ok(result?),
    }
    // SAFETY: LOOP_SET_FD takes a descriptor as an integer.
    unsafe {
        ioctl(
            &device,
            IntegerSetter::<LOOP_SET_FD>::new_usize(fd as usize),
        )
    }?;
    // SAFETY: LOOP_SET_STATUS64 reads one `struct loop_info64`, which `info` is.
    match unsafe { ioctl(&device, Setter::<LOOP_SET_STATUS64, _>::new(info)) } {
        Ok(()) => Ok(()),
        Err(error) => {
            clear_loop_device(device)?;
            Err(error.into())
        }
    }
}

/// Takes the file away from a loop device.
pub(crate) fn clear_loop_device(device: impl AsFd) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    Ok(unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }?)
}

/// Makes everything that would write to a file system wait, once all that was written has reached its device. `folder` is any on it.
///
/// Fails with `EBUSY` if it is frozen already.
pub(crate) fn freeze(folder: impl AsFd) -> io::Result<()> {
    // SAFETY: FIFREEZE ignores its argument.
    Ok(unsafe { ioctl(folder, NoArg::<FIFREEZE>::new()) }?)
}

/// Ends [`freeze`].
///
/// Fails with `EINVAL` if the file system is not frozen.
pub(crate) fn thaw(folder: impl AsFd) -> io::Result<()> {
    // SAFETY: FITHAW ignores its argument.
    Ok(unsafe { ioctl(folder, NoArg::<FITHAW>::new()) }?)
}

/// Makes a read-only snapshot of a btrfs subvolume, whose root is open as `subvolume`, in a folder of the same file system.
pub(crate) fn make_snapshot(
    folder: impl AsFd,
    name: &CStr,
    subvolume: impl AsFd,
) -> io::Result<()> {
    let arguments = SnapshotOf {
        fd: subvolume.as_fd().as_raw_fd().into(),
        transid: 0,
        flags: BTRFS_SUBVOL_RDONLY,
        unused: [0; 4],
        name: field(name)?,
    };
    // SAFETY: BTRFS_IOC_SNAP_CREATE_V2 reads one `struct btrfs_ioctl_vol_args_v2`, which `arguments` is; the descriptor in it is open.
    Ok(unsafe { ioctl(folder, Setter::<SNAP_CREATE_V2, _>::new(arguments)) }?)
}

/// Deletes the btrfs subvolume of that name in a folder.
pub(crate) fn delete_subvolume(folder: impl AsFd, name: &CStr) -> io::Result<()> {
    let arguments = VolumeName {
        fd: 0,
        name: field(name)?,
    };
    // SAFETY: BTRFS_IOC_SNAP_DESTROY reads one `struct btrfs_ioctl_vol_args`, which `arguments` is.
    Ok(unsafe { ioctl(folder, Setter::<SNAP_DESTROY, _>::new(arguments)) }?)
}

/// The paths of the btrfs subvolumes in a subvolume whose root is open, not of those in them. Those that disappear meanwhile are missing.
///
/// Fails with `ENOTTY` before Linux 4.18.
pub(crate) fn subvolumes_in(root: impl AsFd) -> io::Result<Vec<CString>> {
    let mut paths = Vec::new();
    let mut found = RootRefs {
        min_tree: 0,
        refs: [(0, 0); 255],
        count: 0,
        align: [0; 7],
    };
    loop {
        // SAFETY: BTRFS_IOC_GET_SUBVOL_ROOTREF reads and writes one `struct btrfs_ioctl_get_subvol_rootref_args`, which `found` is.
        let result = unsafe { ioctl(&root, Updater::<GET_SUBVOL_ROOTREF, _>::new(&mut found)) };
        let has_more = match result {
            Ok(()) => false,
            Err(Errno::OVERFLOW) => true,
            Err(errno) => return Err(errno.into()),
        };
        for (tree, folder) in &found.refs[..usize::from(found.count)] {
            let mut place = PlaceOf {
                folder: *folder,
                tree: *tree,
                name: [0; 256],
                path: [0; 3824],
            };
            // SAFETY: BTRFS_IOC_INO_LOOKUP_USER reads and writes one `struct btrfs_ioctl_ino_lookup_user_args`, which `place` is.
            match unsafe { ioctl(&root, Updater::<INO_LOOKUP_USER, _>::new(&mut place)) } {
                Ok(()) => {}
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let text = |field| CStr::from_bytes_until_nul(field).unwrap_or_default();
            let path = [text(&place.path).to_bytes(), text(&place.name).to_bytes()].concat();
            paths.push(CString::new(path)?);
        }
        if !has_more || found.count == 0 {
            return Ok(paths);
        }
    }
}

/// A name as a field of a structure, with zero bytes behind it.
fn field<const LENGTH: usize>(name: &CStr) -> io::Result<[u8; LENGTH]> {
    let bytes = name.to_bytes_with_nul();
    let mut field = [0; LENGTH];
    let place = field.get_mut(..bytes.len());
    place.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
    Ok(field)
}

/// What a process sees: its mounts, its root directory and its working folder, each open.
#[derive(Debug)]
pub(crate) struct Outlook {
    pub(crate) mounts: OwnedFd,
    pub(crate) root: OwnedFd,
    pub(crate) folder: OwnedFd,
}

/// Gives a process that is still to be started that outlook.
pub(crate) fn look_out(command: &mut Command, outlook: Outlook) {
    // SAFETY: between fork and exec the closure makes system calls and allocates nothing.
    let _ = unsafe {
        command.pre_exec(move || {
            let kind = Some(LinkNameSpaceType::Mount);
            rustix::thread::move_into_link_name_space(outlook.mounts.as_fd(), kind)?;
            rustix::process::fchdir(&outlook.root)?;
            rustix::process::chroot(c".")?;
            rustix::process::fchdir(&outlook.folder)?;
            Ok(())
        })
    };
}

/// Gives the calling thread, and the threads and processes that it starts, mounts of their own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: only `UnshareFlags::FILES` is unsafe, and it is not given.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?)
}

/// Has the calling thread's next child be the first process of a PID namespace: all that it starts ends with it.
///
/// Fails where the kernel does not let a program with threads do so (before Linux 3.12).
pub(crate) fn unshare_processes() -> io::Result<()> {
    // SAFETY: only `UnshareFlags::FILES` is unsafe, and it is not given.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }?)
}

/// Gives the calling thread, and the processes that it starts, a network, System V objects and a host name of their own, as far as
/// this kernel has such.
pub(crate) fn unshare_the_rest() {
    for flags in [
        UnshareFlags::NEWNET,
        UnshareFlags::NEWIPC,
        UnshareFlags::NEWUTS,
    ] {
        // SAFETY: only `UnshareFlags::FILES` is unsafe, and it is not given.
        if let Err(error) = unsafe { rustix::thread::unshare_unsafe(flags) } {
            tracing::debug!(?flags, %error, "cannot be unshared");
        }
    }
}

/// Has a process that is still to be started end when the calling thread does.
pub(crate) fn bind_to_thread(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    let _ = unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        })
    };
}

/// Has a process that is still to be started, as the first of a PID namespace ([`unshare_processes`]), end when the calling thread
/// does; see the folder `root` as its root directory, in it the folder `dev` as /dev, and in /proc its namespace's processes only;
/// and have no capabilities and no way to get any.
pub(crate) fn confine(command: &mut Command, root: &Path, dev: &Path) -> io::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (root, dev, target) = (path(root)?, path(dev)?, path(&root.join("dev"))?);
    // SAFETY: between fork and exec the closure makes system calls and allocates nothing: the paths are C strings, made before.
    let _ = unsafe {
        command.pre_exec(move || {
            // What is mounted here is seen by this process only, and ends with it.
            rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)?;
            rustix::mount::mount_bind_recursive(dev.as_c_str(), target.as_c_str())?;
            rustix::process::chroot(root.as_c_str())?;
            rustix::process::chdir(c"/")?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            // Without it where the volume has no folder for it.
            let _ = rustix::mount::mount(c"proc", c"/proc", c"proc", flags, c"");
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            give_up_capabilities()
        })
    };
    Ok(())
}

/// Takes all capabilities from the calling process for good (capabilities(7)). Allocates nothing.
fn give_up_capabilities() -> io::Result<()> {
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits)?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no more.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)?;
    // Before Linux 4.3 there were no ambient ones.
    let _ = rustix::thread::clear_ambient_capability_set();
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(test)]
#[path = "kernel_test.rs"]
mod tests;
