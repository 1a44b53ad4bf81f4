//! Which system calls can fail, and with what.
//!
//! Left out are calls that cannot fail when used correctly (`rt_sigaction`, `lseek` to an offset, `getpid`), and those for which an
//! injected failure is not what the kernel does: with an injected failure, `close` or `munmap` is not carried out at all, while the
//! kernel carries it out even if it fails; `brk` fails by returning the old break, not an error; a `futex` that does not wake anybody
//! hangs any program.

/// What a call must operate on for an error to be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// Anything.
    Any,
    /// A descriptor of something with a path.
    File,
    /// A TCP connection.
    Tcp,
    /// Anything with this text in its arguments, as strace prints them.
    With(&'static str),
}

/// A call and its possible errors.
struct Row(&'static str, On, &'static [&'static str]);

use On::{Any, File, Tcp, With};

const FULL: &[&str] = &["ENOSPC", "EIO", "EDQUOT"];
const NAMING: &[&str] = &["EIO", "ENOSPC", "EACCES", "ENOMEM", "EDQUOT"];
const LOOKING: &[&str] = &["EIO", "ENOMEM", "EACCES"];
const MOUNTING: &[&str] = &["ENOMEM", "EPERM", "EIO"];
const FORKING: &[&str] = &["EAGAIN", "ENOMEM"];
const SENDING: &[&str] = &["ECONNRESET", "EPIPE", "ENOBUFS", "ETIMEDOUT"];
const RECEIVING: &[&str] = &["ECONNRESET", "ETIMEDOUT", "ENOMEM"];
const DESCRIPTORS: &[&str] = &["EMFILE", "ENFILE", "ENOMEM"];

/// Errors from section 2 of the man pages.
const ROWS: &[Row] = &[
    Row(
        "openat",
        Any,
        &["EIO", "EMFILE", "ENFILE", "ENOMEM", "EACCES", "EINTR"],
    ),
    Row("openat", With("O_CREAT"), FULL),
    Row("openat2", Any, &["EIO", "EMFILE", "ENOMEM", "EAGAIN"]),
    Row("open", Any, &["EIO", "EMFILE", "ENOMEM", "EACCES"]),
    Row("read", File, &["EIO", "EINTR"]),
    Row("read", Tcp, RECEIVING),
    Row("pread64", File, &["EIO", "EINTR"]),
    Row("write", File, &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    Row("write", Tcp, SENDING),
    Row("pwrite64", File, &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    Row("writev", File, FULL),
    Row("writev", Tcp, SENDING),
    Row("sendto", Tcp, SENDING),
    Row("sendmsg", Tcp, SENDING),
    Row("recvfrom", Tcp, RECEIVING),
    Row("recvmsg", Tcp, RECEIVING),
    Row("copy_file_range", File, &["EIO", "ENOSPC", "EXDEV"]),
    Row("sendfile", File, &["EIO", "ENOMEM"]),
    Row("fsync", File, FULL),
    Row("fdatasync", File, FULL),
    Row("syncfs", Any, FULL),
    Row("ftruncate", File, &["EIO", "EFBIG", "EINTR"]),
    Row("fallocate", File, &["ENOSPC", "EIO", "EOPNOTSUPP"]),
    Row("lseek", With("SEEK_DATA"), &["EIO", "EINVAL"]),
    Row("lseek", With("SEEK_HOLE"), &["EIO", "EINVAL"]),
    Row("flock", Any, &["EINTR", "ENOLCK"]),
    Row("fcntl", With("F_DUPFD"), &["EMFILE"]),
    Row("ioctl", With("LOOP_"), &["EIO", "ENOMEM", "EBUSY"]),
    Row("ioctl", With("FICLONE"), &["EIO", "EOPNOTSUPP"]),
    Row("ioctl", With("BLK"), &["EIO"]),
    Row("rename", Any, NAMING),
    Row("renameat", Any, NAMING),
    Row("renameat2", Any, NAMING),
    Row("renameat2", With("RENAME_"), &["EINVAL"]),
    Row("link", Any, NAMING),
    Row("linkat", Any, NAMING),
    Row("symlinkat", Any, NAMING),
    Row("mknodat", Any, NAMING),
    Row("mkdir", Any, NAMING),
    Row("mkdirat", Any, NAMING),
    Row("unlink", Any, &["EIO", "EACCES", "ENOMEM"]),
    Row("unlinkat", Any, &["EIO", "EACCES", "ENOMEM"]),
    Row("rmdir", Any, &["EIO", "EACCES", "EBUSY"]),
    Row("fchmod", Any, &["EIO", "EPERM"]),
    Row("fchmodat", Any, &["EIO", "EPERM"]),
    Row("fchmodat2", Any, &["EIO", "EPERM"]),
    Row("fchown", Any, &["EIO", "EPERM", "EDQUOT"]),
    Row("fchownat", Any, &["EIO", "EPERM", "EDQUOT"]),
    Row("utimensat", Any, &["EIO", "EACCES"]),
    // Without ENOSPC: an attribute that does not fit into the image's file system only causes a warning that names the file.
    Row("fsetxattr", Any, &["EIO"]),
    Row("lsetxattr", Any, &["EIO"]),
    Row("fgetxattr", Any, &["EIO", "ENOMEM"]),
    Row("lgetxattr", Any, &["EIO", "ENOMEM"]),
    Row("flistxattr", Any, &["EIO", "ENOMEM"]),
    Row("llistxattr", Any, &["EIO", "ENOMEM"]),
    Row("statx", Any, LOOKING),
    Row("newfstatat", Any, LOOKING),
    Row("fstat", Any, &["EIO", "ENOMEM"]),
    Row("statfs", Any, &["EIO", "ENOMEM", "EINTR"]),
    Row("fstatfs", Any, &["EIO", "ENOMEM", "EINTR"]),
    Row("getdents64", Any, &["EIO", "ENOMEM"]),
    Row("access", Any, LOOKING),
    Row("faccessat", Any, LOOKING),
    Row("faccessat2", Any, LOOKING),
    Row("readlink", Any, LOOKING),
    Row("readlinkat", Any, LOOKING),
    Row("getcwd", Any, &["ENOMEM", "ENOENT"]),
    Row("chdir", Any, &["EIO", "EACCES"]),
    Row("fchdir", Any, &["EIO", "EACCES"]),
    Row("chroot", Any, MOUNTING),
    Row("pivot_root", Any, MOUNTING),
    Row("unshare", Any, &["ENOMEM", "EPERM", "ENOSPC"]),
    Row("setns", Any, &["ENOMEM", "EPERM"]),
    Row("mount", Any, MOUNTING),
    Row("umount2", Any, &["ENOMEM", "EBUSY"]),
    Row("fsopen", Any, DESCRIPTORS),
    Row("fsconfig", Any, MOUNTING),
    Row("fsmount", Any, MOUNTING),
    Row("open_tree", Any, MOUNTING),
    Row("move_mount", Any, MOUNTING),
    Row("mount_setattr", Any, MOUNTING),
    Row("mmap", Any, &["ENOMEM"]),
    Row("mremap", Any, &["ENOMEM"]),
    Row("clone", Any, FORKING),
    Row("clone3", Any, FORKING),
    Row("fork", Any, FORKING),
    Row("vfork", Any, FORKING),
    Row("execve", Any, &["ENOMEM", "EACCES", "ENOENT", "EIO"]),
    Row("wait4", Any, &["EINTR"]),
    Row("waitid", Any, &["EINTR"]),
    Row("pipe2", Any, DESCRIPTORS),
    Row("socketpair", Any, DESCRIPTORS),
    Row("eventfd2", Any, DESCRIPTORS),
    Row("epoll_create1", Any, DESCRIPTORS),
    Row("memfd_create", Any, DESCRIPTORS),
    Row("epoll_ctl", With("EPOLL_CTL_ADD"), &["ENOMEM", "ENOSPC"]),
    Row("epoll_wait", Any, &["EINTR"]),
    Row("poll", Any, &["EINTR", "ENOMEM"]),
    Row(
        "socket",
        Any,
        &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EACCES"],
    ),
    Row(
        "connect",
        Any,
        &["ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EADDRNOTAVAIL"],
    ),
    Row("setsockopt", Any, &["ENOMEM", "ENOBUFS"]),
    Row("getrandom", Any, &["EINTR"]),
];

/// The names of all calls that can fail, for strace.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    names.dedup();
    names
}

/// The errors with which this call can fail; `arguments` as strace prints them.
pub fn errors(call: &str, arguments: &str) -> impl Iterator<Item = &'static str> {
    let rows = ROWS.iter().filter(move |row| row.0 == call);
    rows.filter(move |row| row.1.is(arguments))
        .flat_map(|row| row.2.iter().copied())
}

/// The errors with which a call can fail, whatever it operates on.
pub fn all_errors(call: &str) -> impl Iterator<Item = &'static str> {
    let rows = ROWS.iter().filter(move |row| row.0 == call);
    rows.flat_map(|row| row.2.iter().copied())
}

/// Whether an error persists: what is full or used up stays so for the next call.
pub fn lasts(call: &str, error: &str) -> bool {
    let is_write = matches!(call, "write" | "pwrite64" | "fallocate" | "writev");
    let is_thread = matches!(call, "clone3" | "clone");
    (is_write && matches!(error, "ENOSPC" | "EDQUOT")) || (is_thread && error == "EAGAIN")
}

/// Whether a call has a visible effect, so that it is worth killing the command just before it.
pub fn changes(call: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "write", "writev", "pwrite64", "fsync", "flock", "sendto", "recvfrom", "openat", "connect",
        "execve", "clone3", "ioctl",
    ];
    let is_naming = ["rename", "link", "mk", "rm", "unlink", "symlink", "mount"];
    OTHERS.contains(&call) || is_naming.iter().any(|begin| call.starts_with(begin))
}

impl On {
    fn is(self, arguments: &str) -> bool {
        // The first descriptor, as `-yy` shows what it is: `3</path>`, `4<TCP:[…]>`, `5<pipe:[…]>`.
        let of = |begin: &str| {
            let rest = arguments.trim_start_matches(|c: char| c.is_ascii_digit());
            rest.starts_with(begin)
        };
        match self {
            Any => true,
            File => of("</"),
            Tcp => of("<TCP"),
            With(text) => arguments.contains(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_errors_of_what_it_is_done_to() {
        let of = |call, arguments| errors(call, arguments).collect::<Vec<_>>();
        assert_eq!(of("read", "3</etc/x>, \"\", 10) = 0"), ["EIO", "EINTR"]);
        assert_eq!(of("read", "12<TCP:[1:2->3:4]>, \"\", 10) = 0"), RECEIVING);
        assert!(of("read", "3<pipe:[77]>, \"\", 10) = 0").is_empty());
        assert_eq!(of("lseek", "3</x>, 0, SEEK_HOLE) = 5"), ["EIO", "EINVAL"]);
        assert!(of("lseek", "3</x>, 0, SEEK_SET) = 0").is_empty());
        assert!(of("openat", "AT_FDCWD</>, \"x\", O_RDWR|O_CREAT, 0600) = 3").contains(&"EDQUOT"));
        assert!(of("close", "3</x>) = 0").is_empty());
    }
}
