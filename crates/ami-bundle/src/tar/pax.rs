//! pax extended headers (POSIX.1-2001, "pax Extended Header"): records `LENGTH KEY=VALUE\n`.
//!
//! The `tar` crate's reader of records cuts them at newlines, which a value may contain (a path, an extended attribute); here the
//! length decides.

use std::str;

use crate::error::StreamError;
use ami_image::Extent;

use super::sparse::{MAX_REGIONS, TOO_MANY_REGIONS};

/// What an extended header says of the member that follows it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// Whole seconds.
    pub(crate) mtime: Option<i64>,
    pub(crate) sparse: Sparse,
}

/// GNU tar's sparse formats for pax archives ("Storing Sparse Files" in its manual).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// `GNU.sparse.size` (0.0, 0.1) or `GNU.sparse.realsize` (1.0).
    pub(crate) real_size: Option<u64>,
    /// The real name; the header's own is made up.
    pub(crate) name: Option<Vec<u8>>,
    /// The map of 0.0 and 0.1.
    pub(crate) map: Option<Vec<Extent>>,
    /// 1.0: the map stands before the data.
    pub(crate) map_in_data: bool,
    /// 0.0: an offset whose length is in the next record.
    offset: Option<u64>,
}

impl Extended {
    /// Reads the records of one extended header.
    pub(crate) fn parse(records: &[u8]) -> Result<Self, StreamError> {
        let mut extended = Self::default();
        let mut rest = records;
        while !rest.is_empty() {
            let (record, after) = split_record(rest).ok_or(INVALID)?;
            rest = after;
            let equals = record.iter().position(|&b| b == b'=').ok_or(INVALID)?;
            extended.set(&record[..equals], &record[equals + 1..])?;
        }
        if extended.sparse.offset.is_some() {
            return Err(INVALID);
        }
        Ok(extended)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StreamError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(seconds(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = Some(decimal(value)?);
                let _ = self.sparse.map.get_or_insert_default();
            }
            b"GNU.sparse.major" => match value {
                b"0" => {}
                b"1" => self.sparse.map_in_data = true,
                _ => return Err(INVALID),
            },
            b"GNU.sparse.minor" if value != b"0" && self.sparse.map_in_data => return Err(INVALID),
            b"GNU.sparse.offset" => match self.sparse.offset.replace(decimal(value)?) {
                None => {}
                Some(_) => return Err(INVALID),
            },
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or(INVALID)?;
                let length = decimal(value)?;
                let map = self.sparse.map.get_or_insert_default();
                map.push(Extent { offset, length });
            }
            b"GNU.sparse.map" if !value.is_empty() => {
                let mut numbers = value.split(|&b| b == b',').map(decimal);
                let mut map = Vec::new();
                while let Some(offset) = numbers.next() {
                    let (offset, length) = (offset?, numbers.next().ok_or(INVALID)??);
                    if map.len() == MAX_REGIONS {
                        return Err(TOO_MANY_REGIONS);
                    }
                    map.push(Extent { offset, length });
                }
                self.sparse.map = Some(map);
            }
            _ => {}
        }
        Ok(())
    }
}

const INVALID: StreamError = StreamError::TarField("extended header");

/// Splits the first record off: without its length, the blank and the final newline.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = records.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(&records[..blank]).ok()?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let content = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    Some((content, rest))
}

/// Decimal digits, and nothing else.
pub(crate) fn decimal(text: &[u8]) -> Result<u64, StreamError> {
    str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(INVALID)
}

/// A time with an optional fraction, which is dropped.
fn seconds(text: &[u8]) -> Result<i64, StreamError> {
    let text = str::from_utf8(text).map_err(|_| INVALID)?;
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    whole.parse().map_err(|_| INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: &str) -> String {
        let mut length = content.len() + 3;
        while format!("{length} {content}\n").len() != length {
            length += 1;
        }
        format!("{length} {content}\n")
    }

    fn parse(contents: &[&str]) -> Result<Extended, StreamError> {
        let text: String = contents.iter().map(|c| record(c)).collect();
        Extended::parse(text.as_bytes())
    }

    #[test]
    fn what_matters_is_read_and_the_rest_passed_over() {
        let extended = parse(&["path=a\u{e9}.img", "comment=x", "size=12", "mtime=-5.25"]).unwrap();
        assert_eq!(extended.path, Some("a\u{e9}.img".into()));
        assert_eq!(extended.size, Some(12));
        assert_eq!(extended.mtime, Some(-5));
        assert_eq!(extended.sparse, Sparse::default());
    }

    #[test]
    fn all_sparse_formats_are_read() {
        let map = Some(vec![
            Extent {
                offset: 0,
                length: 512,
            },
            Extent {
                offset: 8192,
                length: 0,
            },
        ]);
        let format_0_0 = parse(&[
            "GNU.sparse.size=8192",
            "GNU.sparse.numblocks=2",
            "GNU.sparse.offset=0",
            "GNU.sparse.numbytes=512",
            "GNU.sparse.offset=8192",
            "GNU.sparse.numbytes=0",
        ]);
        assert_eq!(format_0_0.unwrap().sparse.map, map);
        let format_0_1 = parse(&["GNU.sparse.size=8192", "GNU.sparse.map=0,512,8192,0"]).unwrap();
        assert_eq!(format_0_1.sparse.map, map);
        assert_eq!(format_0_1.sparse.real_size, Some(8192));
        let format_1_0 = parse(&[
            "GNU.sparse.major=1",
            "GNU.sparse.minor=0",
            "GNU.sparse.name=x",
            "GNU.sparse.realsize=8192",
        ]);
        let format_1_0 = format_1_0.unwrap().sparse;
        assert!(format_1_0.map_in_data);
        assert_eq!(format_1_0.name, Some(b"x".into()));
    }

    #[test]
    fn finding_09_a_map_of_too_many_regions_is_refused_while_it_is_read() {
        let map = format!("GNU.sparse.map=0,0{}", ",0,0".repeat(MAX_REGIONS));
        assert_eq!(parse(&[&map]), Err(TOO_MANY_REGIONS));
    }

    #[test]
    fn damaged_records_are_refused() {
        for text in [
            "x",
            "5 a=b",
            "0 a=b\n",
            "999 a=b\n",
            "7 a=b\nx",
            "6 a=b\n6 ab\n\n",
            "-6 a=b\n",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), Err(INVALID), "{text:?}");
        }
        for content in [
            "size=",
            "size=x",
            "size=18446744073709551616",
            "mtime=x",
            "GNU.sparse.map=1",
            "GNU.sparse.map=1,2,3",
            "GNU.sparse.numbytes=1",
            "GNU.sparse.offset=1",
            "GNU.sparse.major=2",
        ] {
            assert_eq!(parse(&[content]), Err(INVALID), "{content}");
        }
    }
}
