//! Compares bytes, with readable failures.

use std::collections::BTreeMap;

/// How many bytes are shown on either side of the first that differs.
const SHOWN: usize = 16;

/// Fails if bytes are not the expected ones, and shows the first line that differs in text, or the first position in anything else.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same_bytes(found: &[u8], expected: &[u8]) {
    if found != expected {
        panic!("{}", difference(found, expected));
    }
}

/// The same for files: names and contents, as returned by [`crate::contents`].
///
/// # Panics
/// If a file is missing, is new or differs.
#[track_caller]
pub fn assert_same_files(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, bytes) in expected {
        if found[name] != *bytes {
            panic!("{name}: {}", difference(&found[name], bytes));
        }
    }
}

fn difference(found: &[u8], expected: &[u8]) -> String {
    if let (Ok(found), Ok(expected)) = (str::from_utf8(found), str::from_utf8(expected)) {
        let mut expected = expected.split('\n');
        for (number, line) in found.split('\n').enumerate() {
            let other = expected.next();
            if other != Some(line) {
                return format!(
                    "line {} is\n  {line:?}\nand should be\n  {other:?}",
                    number + 1
                );
            }
        }
        return format!("this is missing at the end: {:?}", expected.next());
    }
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
    let place = same.count();
    let around = |bytes: &[u8]| {
        let from = place.saturating_sub(SHOWN);
        let to = bytes.len().min(place + SHOWN);
        hex::encode(&bytes[from.min(to)..to])
    };
    format!(
        "byte {place} is the first that differs, of {} bytes for {}:\n  {}\nshould be\n  {}",
        found.len(),
        expected.len(),
        around(found),
        around(expected)
    )
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn finding_26_a_difference_can_be_read() {
        assert_eq!(
            difference(b"a\nb\nc", b"a\nB\nc"),
            "line 2 is\n  \"b\"\nand should be\n  Some(\"B\")"
        );
        assert_eq!(
            difference(b"a", b"a\nb"),
            "this is missing at the end: Some(\"b\")"
        );
        assert_eq!(
            difference(b"a\nb", b"a"),
            "line 2 is\n  \"b\"\nand should be\n  None"
        );
        let long = [0xff_u8; 40];
        let mut other = long;
        other[20] = 0;
        assert_eq!(
            difference(&long, &other),
            format!(
                "byte 20 is the first that differs, of 40 bytes for 40:\n  {}\nshould be\n  {}00{}",
                "ff".repeat(32),
                "ff".repeat(16),
                "ff".repeat(15)
            )
        );
        assert_eq!(
            difference(&long[..2], &long[..3]),
            "byte 2 is the first that differs, of 2 bytes for 3:\n  ffff\nshould be\n  ffffff"
        );
    }
}
