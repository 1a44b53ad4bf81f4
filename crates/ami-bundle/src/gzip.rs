//! gzip's framing of a deflate stream (RFC 1952).
//!
//! | bytes | header | | bytes | trailer |
//! |---|---|---|---|---|
//! | 2 | `1f 8b` | | 4 | CRC-32 of the data, little-endian |
//! | 1 | method: 8, deflate | | 4 | its length modulo 2^32, little-endian |
//! | 1 | flags: 1 text, 2 header CRC, 4 extra field, 8 name, 16 comment | | | |
//! | 4 | modification time | | | |
//! | 2 | extra flags, operating system (3: Unix) | | | |

use crate::error::StreamError;

/// The header of every stream written here: no flags, no time, Unix.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// The trailer's size in bytes.
const TRAILER: usize = 8;

/// The trailer for data with this CRC-32 and length.
pub(crate) fn trailer(crc: u32, length: u64) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..4].copy_from_slice(&crc.to_le_bytes());
    trailer[4..].copy_from_slice(&length_field(length).to_le_bytes());
    trailer
}

fn length_field(length: u64) -> u32 {
    (length & u64::from(u32::MAX)) as u32
}

const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const HEADER_CRC: u8 = 2;
const RESERVED: u8 = 0xe0;

/// Parses a header byte by byte. Its optional fields are skipped and take no memory.
#[derive(Debug, Default)]
pub(crate) struct HeaderReader {
    field: Field,
    flags: u8,
}

#[derive(Debug, Default, Clone, Copy)]
enum Field {
    #[default]
    Start,
    Fixed(usize),
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    Crc(u8),
    Done,
}

impl HeaderReader {
    /// Takes the next byte and returns whether it completes the header.
    pub(crate) fn push(&mut self, byte: u8) -> Result<bool, StreamError> {
        self.field = match self.field {
            Field::Start => self.fixed(0, byte)?,
            Field::Fixed(position) => self.fixed(position, byte)?,
            Field::ExtraLength(None) => Field::ExtraLength(Some(byte)),
            Field::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after(EXTRA),
                length => Field::Extra(length),
            },
            Field::Extra(1) => self.after(EXTRA),
            Field::Extra(left) => Field::Extra(left - 1),
            Field::Name if byte == 0 => self.after(NAME),
            Field::Comment if byte == 0 => self.after(COMMENT),
            Field::Crc(1) => Field::Done,
            Field::Crc(left) => Field::Crc(left - 1),
            same => same,
        };
        Ok(matches!(self.field, Field::Done))
    }

    fn fixed(&mut self, position: usize, byte: u8) -> Result<Field, StreamError> {
        let valid = match position {
            0..=2 => byte == HEADER[position],
            3 => {
                self.flags = byte;
                byte & RESERVED == 0
            }
            _ => true,
        };
        if !valid {
            return Err(StreamError::NotGzip);
        }
        Ok(if position + 1 < HEADER.len() {
            Field::Fixed(position + 1)
        } else {
            self.after(0)
        })
    }

    /// The field after `done`. The optional fields have a fixed order, which is not that of their flags.
    fn after(&self, done: u8) -> Field {
        let order = [
            (EXTRA, Field::ExtraLength(None)),
            (NAME, Field::Name),
            (COMMENT, Field::Comment),
            (HEADER_CRC, Field::Crc(2)),
        ];
        let next = order
            .iter()
            .position(|&(flag, _)| flag == done)
            .map_or(0, |i| i + 1);
        order[next..]
            .iter()
            .find(|(flag, _)| self.flags & flag != 0)
            .map_or(Field::Done, |&(_, field)| field)
    }
}

/// Collects a trailer and compares it with what was inflated.
#[derive(Debug, Default)]
pub(crate) struct TrailerReader {
    bytes: [u8; TRAILER],
    count: usize,
}

impl TrailerReader {
    /// Takes the next byte and returns whether it completes the trailer.
    ///
    /// # Errors
    /// The trailer is complete and does not match this CRC-32 and length.
    pub(crate) fn push(&mut self, byte: u8, crc: u32, length: u64) -> Result<bool, StreamError> {
        if let Some(slot) = self.bytes.get_mut(self.count) {
            *slot = byte;
        }
        self.count += 1;
        if self.count < TRAILER {
            return Ok(false);
        }
        let expected = trailer(crc, length);
        if self.bytes[..4] != expected[..4] {
            return Err(StreamError::GzipCheck("CRC-32"));
        }
        if self.bytes[4..] != expected[4..] {
            return Err(StreamError::GzipCheck("length"));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_length(bytes: &[u8]) -> Result<Option<usize>, StreamError> {
        let mut reader = HeaderReader::default();
        for (index, &byte) in bytes.iter().enumerate() {
            if reader.push(byte)? {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    #[test]
    fn headers_with_every_set_of_fields_end_where_they_do() {
        for flags in 0..32u8 {
            let mut header = HEADER.to_vec();
            header[3] = flags;
            if flags & EXTRA != 0 {
                header.extend([3, 0, 0, 0, 9]);
            }
            if flags & NAME != 0 {
                header.extend(b"name\0");
            }
            if flags & COMMENT != 0 {
                header.extend(b"\0");
            }
            if flags & HEADER_CRC != 0 {
                header.extend([1, 2]);
            }
            let whole = [&header[..], b"more"].concat();
            assert_eq!(header_length(&whole), Ok(Some(header.len())), "{flags}");
            assert_eq!(header_length(&header[..header.len() - 1]), Ok(None));
        }
        let mut empty_extra = HEADER.to_vec();
        empty_extra[3] = EXTRA;
        empty_extra.extend([0, 0]);
        assert_eq!(header_length(&empty_extra), Ok(Some(12)));
    }

    #[test]
    fn what_is_no_gzip_header_is_refused() {
        for wrong in [&b"BZh9"[..], b"\x1f\x8b\x07\0", b"\x1f\x8b\x08\x20", b"\0"] {
            assert_eq!(header_length(wrong), Err(StreamError::NotGzip));
        }
    }

    #[test]
    fn the_trailer_holds_crc_and_length_modulo_2_32() {
        let bytes = trailer(0x0403_0201, 0x1_0807_0605);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        let check = |crc, length| {
            let mut reader = TrailerReader::default();
            let mut result = Ok(false);
            for byte in bytes {
                assert_eq!(result, Ok(false));
                result = reader.push(byte, crc, length);
            }
            result
        };
        assert_eq!(check(0x0403_0201, 0x0807_0605), Ok(true));
        assert_eq!(check(1, 0x0807_0605), Err(StreamError::GzipCheck("CRC-32")));
        assert_eq!(check(0x0403_0201, 1), Err(StreamError::GzipCheck("length")));
    }
}
