//! The certificates in AWS's zip, which may be hostile.
//!
//! Files are never unpacked to the zip's paths; the paths are only examined.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use ami_files::LimitReader;
use zip::ZipArchive;

use crate::certificate::Certificate;
use crate::error::Error;

/// The most bytes of the zip.
pub const MOST_BYTES: u64 = 64 << 20;

/// The most bytes of a certificate's file.
const MOST_OF_FILE: u64 = 64 << 10;

/// The most files in the zip.
const MOST_FILES: usize = 10_000;

/// The most certificates in the zip.
const MOST_CERTIFICATES: usize = 100;

/// The signature of an entry in the zip's central directory (PKWARE APPNOTE.TXT, 4.3.12).
const ENTRY: [u8; 4] = *b"PK\x01\x02";

/// The certificate that most regions share. A zip without it is not AWS's.
const COMMON: &str = "cert-ec2.pem";

/// The certificates by file name, and why other files with similar names were skipped.
#[derive(Debug, Default)]
pub struct Found {
    pub certificates: BTreeMap<String, Certificate>,
    /// Lines for the user.
    pub skipped: Vec<String>,
}

/// Reads the certificates in a zip. `name` is its name in errors.
pub fn certificates(zip: &[u8], name: &str) -> Result<Found, Error> {
    let zip_name = name.to_owned();
    // Counted before the central directory is read into memory.
    let entries = zip.windows(ENTRY.len()).filter(|bytes| *bytes == ENTRY);
    if entries.count() > MOST_FILES {
        return Err(Error::TooManyFiles(zip_name));
    }
    let mut archive =
        ZipArchive::new(Cursor::new(zip)).map_err(|_| Error::NotAZip(zip_name.clone()))?;
    let paths: Vec<(usize, String)> = (0..archive.len())
        .filter_map(|index| Some((index, archive.name_for_index(index)?.ok()?.into_owned())))
        .filter(|(_, path)| is_candidate(file_name(path)))
        .collect();
    if paths.len() > MOST_CERTIFICATES {
        return Err(Error::TooManyCertificates(zip_name));
    }
    let mut found = Found::default();
    for (index, path) in paths {
        let file = file_name(&path);
        if !is_plain(&path) || !is_certificates_name(file) {
            let shown = printable(&path);
            let line = format!("Skipping {shown}: no name of a certificate of EC2's");
            found.skipped.push(line);
            continue;
        }
        let Some(certificate) = read(&mut archive, index) else {
            let line = format!("Skipping {path}: not a certificate with an RSA key");
            found.skipped.push(line);
            continue;
        };
        match found.certificates.get(file) {
            Some(other) if *other != certificate => {
                return Err(Error::TwoOfAName {
                    zip: zip_name,
                    file: file.to_owned(),
                });
            }
            Some(_) => {}
            None => {
                let _ = found.certificates.insert(file.to_owned(), certificate);
            }
        }
    }
    if !found.certificates.contains_key(COMMON) {
        return Err(Error::NoCommon(zip_name));
    }
    Ok(found)
}

fn read(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Option<Certificate> {
    let mut content = Vec::new();
    let file = archive.by_index(index).ok()?;
    let _ = LimitReader::new(file, MOST_OF_FILE)
        .read_to_end(&mut content)
        .ok()?;
    Certificate::first(&content)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a file name begins and ends like those of EC2's certificates.
fn is_candidate(file: &str) -> bool {
    file.starts_with("cert-ec2") && file.ends_with(".pem")
}

/// `cert-ec2.pem` or `cert-ec2-WORD-….pem`.
fn is_certificates_name(file: &str) -> bool {
    let words = file.strip_prefix("cert-ec2");
    let Some(words) = words.and_then(|words| words.strip_suffix(".pem")) else {
        return false;
    };
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    words.is_empty()
        || words
            .strip_prefix('-')
            .is_some_and(|words| words.split('-').all(is_word))
}

/// Whether a path has only the characters of AWS's paths, and begins with neither a slash nor a hyphen.
fn is_plain(path: &str) -> bool {
    let is_ordinary = |b: u8| b.is_ascii_alphanumeric() || b"._/ +-".contains(&b);
    path.bytes().all(is_ordinary) && !path.starts_with(['/', ' ', '+', '-'])
}

fn printable(path: &str) -> String {
    let shown = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    path.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ec2s_certificates_are_taken() {
        for name in [
            "cert-ec2.pem",
            "cert-ec2-gov.pem",
            "cert-ec2-me-south-1.pem",
        ] {
            assert!(is_candidate(name) && is_certificates_name(name), "{name}");
        }
        for name in [
            "cert-ec2-.pem",
            "cert-ec2--x.pem",
            "cert-ec2x.pem",
            "cert-ec2-X.pem",
            "cert-ec2-..pem",
            "cert-ec2-é.pem",
        ] {
            assert!(is_candidate(name) && !is_certificates_name(name), "{name}");
        }
        for path in ["a/b.pem", "../x", "etc/ec2 1.5+7/_.pem"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["/etc/x", "-d/x", "[a-z]*/x", "a\u{1b}[31m", "ä"] {
            assert!(!is_plain(path), "{path}");
        }
        assert_eq!(printable("a\u{1b}[3ä b"), "a?[3? b");
    }
}
