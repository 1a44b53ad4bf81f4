//! Files: opening those that somebody else may have made, reading them within limits, recognising one under another name; and writing
//! new ones past the page cache.
//!
//! A name in somebody else's folder can belong to a FIFO, on which an ordinary open blocks, or to a device that opening starts (a
//! watchdog, a tape). So the file is first examined through a descriptor that cannot be read (`O_PATH`), and then exactly that file is
//! opened: nobody can replace it in between.
//!
//! Not here: how large a file of a certain kind can be, which the reader knows.
//!
//! - [`open_regular`] and its variants: opening. [`FileError`]: what failed, and on which file.
//! - [`LimitReader`], [`DigestReader`]: adapters around a reader.
//! - [`Writer`]: new files. [`DirectFile`]: one that is written in any order. [`free_space`]: of a folder. [`folder_of`]: that of a file.
//! - [`first_same_file`], [`identity`]: whether two paths are one file.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! let error = ami_files::open_regular("/dev/zero".as_ref()).unwrap_err();
//! assert_eq!(error.to_string(), "it is a character device, not a regular file");
//! # Ok(()) }
//! ```

mod direct;
mod error;
mod folder;
mod open;
mod reader;
mod same;
mod space;
mod writer;

pub use direct::DirectFile;
pub use error::{FileError, shown};
pub use folder::folder_of;
pub use open::{NotRegular, open_regular, open_regular_at, open_regular_or_block_device};
pub use reader::{DigestReader, LimitReader, read_some};
pub use same::{Identity, first_same_file, identity};
pub use space::free_space;
pub use writer::Writer;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode};

    /// A folder with a file of every kind that can be made without root, and links to all of them.
    pub(crate) fn every_kind() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        fs::create_dir(path("directory")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        drop(UnixListener::bind(path("socket")).unwrap());
        symlink("/dev/zero", path("device")).unwrap();
        for name in ["file", "directory", "fifo", "socket", "device"] {
            symlink(name, path(&format!("to-{name}"))).unwrap();
        }
        folder
    }
}
