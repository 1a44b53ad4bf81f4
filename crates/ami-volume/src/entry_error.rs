//! What can happen to one entry of a volume that others change meanwhile.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::error::Error;

/// Why an entry was not visited or copied.
#[derive(Debug)]
pub(crate) enum EntryError {
    /// It has disappeared since its name was read.
    Gone,
    /// Another file has taken the name since it was looked at.
    Replaced,
    /// It is left out, and the visitor has noted why.
    Noted,
    /// Everything ends.
    Fatal(Error),
}

impl EntryError {
    /// Returns a function for `map_err`: an error on the volume's side, but for what has disappeared.
    pub(crate) fn at<'p>(
        operation: &'static str,
        path: &'p [u8],
    ) -> impl FnOnce(Errno) -> Self + 'p {
        move |errno| match errno {
            Errno::NOENT | Errno::STALE => Self::Gone,
            errno => Self::Fatal(Error::io(operation, as_path(path))(errno)),
        }
    }

    /// Returns a function for `map_err`: an error on the image's side. A full file system has an error of its own.
    pub(crate) fn writing(path: &[u8]) -> impl Fn(Errno) -> Self + '_ {
        move |errno| {
            Self::Fatal(match errno {
                Errno::NOSPC | Errno::DQUOT => Error::Full {
                    path: as_path(path).to_owned(),
                },
                errno => Error::io("copy", as_path(path))(errno),
            })
        }
    }
}

impl From<Error> for EntryError {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// A path on the volume for messages. The walk has an empty one for the volume itself.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    match bytes {
        b"" => Path::new("/"),
        _ => Path::new(OsStr::from_bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_24_the_volume_itself_has_a_name_in_errors() {
        let told = |path| match EntryError::at("copy", path)(Errno::PERM) {
            EntryError::Fatal(error) => error.to_string(),
            trouble => format!("{trouble:?}"),
        };
        assert_eq!(told(b""), "cannot copy /");
        assert_eq!(told(b"/srv/a"), "cannot copy /srv/a");
    }
}
