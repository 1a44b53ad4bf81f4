//! Option values: how they are parsed, and why text is refused.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use ami_bundle::Level;

/// The largest number of threads.
const MOST_THREADS: usize = 256;

/// A file that exists.
///
/// # Errors
/// The reason, for the user.
pub fn existing_file(value: &str) -> Result<PathBuf, String> {
    existing(value, fs::Metadata::is_file)
}

/// An image: a file or block device that exists.
///
/// # Errors
/// The reason, for the user.
pub fn image_file(value: &str) -> Result<PathBuf, String> {
    existing(value, |m| m.is_file() || m.file_type().is_block_device())
}

/// A file that exists and can be executed; a name without a slash is a file in the working directory.
///
/// # Errors
/// The reason, for the user.
pub fn executable_file(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    let is_file = path.metadata().is_ok_and(|m| m.is_file());
    if is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() {
        return Ok(path.to_owned());
    }
    Err("File not executable.".to_owned())
}

fn existing(value: &str, is_right: impl FnOnce(&fs::Metadata) -> bool) -> Result<PathBuf, String> {
    let path = Path::new(value);
    match fs::metadata(path) {
        Ok(metadata) if is_right(&metadata) => Ok(path.to_owned()),
        _ => Err("File does not exist or is not a file.".to_owned()),
    }
}

/// A folder that exists.
///
/// # Errors
/// The reason, for the user.
pub fn existing_folder(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if path.is_dir() {
        Ok(path.to_owned())
    } else {
        Err("Directory does not exist or is not a directory.".to_owned())
    }
}

/// An account: twelve digits, without the hyphens between them.
pub(crate) fn account(value: &str) -> Result<String, String> {
    let digits = value.replace('-', "");
    if digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(digits);
    }
    Err(
        "the user ID should consist of 12 digits (optionally hyphenated); \
         this should not be your Access Key ID"
            .to_owned(),
    )
}

/// A bundle's name, or that of one of its files.
///
/// # Errors
/// The reason, for the user.
pub fn prefix(value: &str) -> Result<String, String> {
    if value.contains('/') {
        return Err("'/' character not allowed.".to_owned());
    }
    Ok(value.to_owned())
}

/// A block device mapping: virtual names to devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping(pub BTreeMap<String, String>);

/// `NAME=DEVICE,…`. As in the older suite a second `=` ends the device, and commas at the end are ignored.
pub(crate) fn mapping(value: &str) -> Result<Mapping, String> {
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    let mut entries = BTreeMap::new();
    let items = value.trim_end_matches(',');
    for item in items.split(',').filter(|_| !items.is_empty()) {
        let mut words = item.split('=').map(str::trim);
        match (words.next(), words.next()) {
            (Some(name), Some(device)) if is_word(name) && is_word(device) => {
                let _ = entries.insert(name.to_owned(), device.to_owned());
            }
            _ => return Err(String::new()),
        }
    }
    Ok(Mapping(entries))
}

/// A number of threads.
pub(crate) fn threads(value: &str) -> Result<NonZeroUsize, String> {
    value
        .parse()
        .ok()
        .filter(|threads: &NonZeroUsize| threads.get() <= MOST_THREADS)
        .ok_or_else(|| format!("a number from 1 to {MOST_THREADS} is needed."))
}

/// A compression level.
pub(crate) fn level(value: &str) -> Result<Level, String> {
    let level = value.parse().ok().and_then(Level::new);
    level.ok_or_else(|| {
        format!(
            "a number from {} (fastest) to {} (smallest) is needed.",
            Level::FASTEST,
            Level::SMALLEST
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_twelve_digits() {
        for text in ["123456789012", "1234-5678-9012", "1-2-3-4-5-6-7-8-9-0-1-2-"] {
            assert_eq!(account(text).as_deref(), Ok("123456789012"));
        }
        for text in [
            "",
            "12345678901",
            "1234567890123",
            "12345678901a",
            "AKIAIOSFODNN7EXAMPLE",
            "1234 5678 9012",
        ] {
            assert!(account(text).unwrap_err().contains("12 digits"), "{text}");
        }
    }

    #[test]
    fn mappings_are_read_as_the_older_suite_reads_them() {
        let read = |text| mapping(text).map(|Mapping(map)| map.into_iter().collect::<Vec<_>>());
        let pair = |name: &str, device: &str| (name.to_owned(), device.to_owned());
        assert_eq!(
            read("swap=sda3, ami = sda1 ,root=/dev/sda1"),
            Ok(vec![
                pair("ami", "sda1"),
                pair("root", "/dev/sda1"),
                pair("swap", "sda3")
            ])
        );
        assert_eq!(read("ami=sda1=x"), Ok(vec![pair("ami", "sda1")]));
        assert_eq!(read("ami=a,ami=b,"), Ok(vec![pair("ami", "b")]));
        assert_eq!(read(","), Ok(vec![]));
        for text in [
            "nonsense",
            "ami=",
            "=sda1",
            "a mi=sda1",
            "ami=sda1,,root=x",
            ",a=b",
            "a=b\nc=d",
        ] {
            assert_eq!(read(text), Err(String::new()), "{text}");
        }
    }

    #[test]
    fn numbers_have_limits() {
        assert_eq!(threads("256").map(NonZeroUsize::get), Ok(256));
        for text in ["0", "257", "-1", "two", ""] {
            assert!(threads(text).is_err(), "{text}");
        }
        assert_eq!(level("1"), Ok(Level::new(1).unwrap()));
        assert_eq!(level("12"), Ok(Level::new(12).unwrap()));
        for text in ["0", "13", "x"] {
            assert!(level(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_folders_and_devices_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let (folder, file) = (folder.path().to_str().unwrap(), file.to_str().unwrap());
        assert!(existing_file(file).is_ok() && image_file(file).is_ok());
        assert!(existing_folder(folder).is_ok());
        for wrong in [folder, "/dev/zero", "/nonexistent"] {
            assert!(existing_file(wrong).is_err() && image_file(wrong).is_err());
        }
        assert!(existing_folder(file).is_err());
    }
}
