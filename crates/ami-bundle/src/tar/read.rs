//! Reading the tar stream as it comes, in whatever pieces: v7, ustar, old and new GNU, pax, with every sparse format.
//!
//! The stream may be somebody else's: one member, a plain file with a plain name, of the size that the manifest says; sizes and the
//! sparse map are checked before anything is done with them, and what is kept in memory has limits.

use ::tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};
use ami_image::Extent;

use super::BLOCK;
use super::pax::Extended;
use super::sparse::{Map, MapText};
use crate::error::{Error, StreamError};

/// The longest extended header or long name, in bytes. Only a sparse map in one (pax 0.0, 0.1) comes near.
const MAX_TEXT: u64 = 16 << 20;

/// How many extended headers may stand before the member.
const MAX_TEXTS: u32 = 8;

/// The most zeros after the end of the archive, in bytes: a record of the largest blocking factor in use, and more.
const MAX_END: u64 = 1 << 20;

/// The longest file name of Linux's file systems, in bytes (NAME_MAX in linux/limits.h).
const MAX_NAME: usize = 255;

/// The member of a bundle's tar stream: the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// A single component.
    pub(crate) name: String,
    /// Bytes, holes included.
    pub(crate) size: u64,
    /// Bytes that are in the stream.
    pub(crate) stored: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
}

/// Takes the image as it comes out of the stream.
pub(crate) trait Receiver {
    /// Called once, before any data.
    fn begin(&mut self, member: &Member) -> Result<(), Error>;
    /// Called with ascending offsets; what is left out is a hole.
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// Takes a tar stream apart.
pub(crate) struct TarReader<R> {
    receiver: R,
    state: State,
    block: Box<Header>,
    /// How many bytes of `block` are there.
    filled: usize,
    texts: u32,
    long_name: Option<Vec<u8>>,
    extended: Extended,
    member: Option<Member>,
    map: Map,
    /// Bytes of the member's stored data still to come, the map of pax 1.0 included.
    stored: u64,
    /// Zeros to come that pad the member to a block.
    padding: u64,
}

#[derive(Debug)]
enum State {
    Header,
    /// A long name or extended header: its kind, its bytes so far, how many are to come, how many pad it.
    Text(EntryType, Vec<u8>, u64, u64),
    /// An extension block of the sparse map.
    Extension,
    /// The sparse map of pax 1.0.
    MapInData(MapText),
    Data,
    Padding,
    End(u64),
}

impl<R: Receiver> TarReader<R> {
    pub(crate) fn new(receiver: R) -> Self {
        Self {
            receiver,
            state: State::Header,
            block: Box::new(Header::new_old()),
            filled: 0,
            texts: 0,
            long_name: None,
            extended: Extended::default(),
            member: None,
            map: Map::default(),
            stored: 0,
            padding: 0,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`Error::Stream`], or what the receiver says.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let used = match &mut self.state {
                State::Header | State::Extension => self.fill_block(bytes)?,
                State::Text(_, text, left, _) if *left > 0 => {
                    let count = at_most(bytes, *left);
                    text.extend_from_slice(&bytes[..count]);
                    *left -= count as u64;
                    count
                }
                State::Text(_, _, _, padding) => {
                    let count = at_most(bytes, *padding);
                    *padding -= count as u64;
                    count
                }
                State::MapInData(_) => self.take_map_byte(bytes[0])?,
                State::Data => self.take_data(bytes)?,
                State::Padding => {
                    let count = at_most(bytes, self.padding);
                    self.padding -= count as u64;
                    count
                }
                State::End(count) => {
                    *count += bytes.len() as u64;
                    if bytes.iter().any(|&b| b != 0) || *count > MAX_END {
                        return Err(StreamError::AfterEnd.into());
                    }
                    bytes.len()
                }
            };
            bytes = &bytes[used..];
            self.settle()?;
        }
        Ok(())
    }

    /// Ends the stream. One without the blocks that end an archive, or without full blocking, is whole too.
    ///
    /// # Errors
    /// [`Error::Stream`] when it ends within the member or has none.
    pub(crate) fn finish(self) -> Result<(Member, R), Error> {
        let member = self.member.ok_or(StreamError::NoMember)?;
        match self.state {
            State::End(_) => {}
            State::Header if self.filled == 0 => {}
            _ => return Err(StreamError::Truncated("the tar stream").into()),
        }
        Ok((member, self.receiver))
    }

    /// Leaves states that have nothing more to take.
    fn settle(&mut self) -> Result<(), Error> {
        loop {
            match &mut self.state {
                State::Text(kind, text, 0, 0) => {
                    let (kind, text) = (*kind, std::mem::take(text));
                    self.state = State::Header;
                    self.take_text(kind, text)?;
                }
                State::Data if self.stored == 0 => self.state = State::Padding,
                State::Padding if self.padding == 0 => self.state = State::Header,
                _ => return Ok(()),
            }
        }
    }

    fn fill_block(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let count = bytes.len().min(BLOCK - self.filled);
        self.block.as_mut_bytes()[self.filled..self.filled + count]
            .copy_from_slice(&bytes[..count]);
        self.filled += count;
        if self.filled == BLOCK {
            self.filled = 0;
            if matches!(self.state, State::Extension) {
                let mut extension = GnuExtSparseHeader::new();
                *extension.as_mut_bytes() = *self.block.as_bytes();
                self.take_extension(&extension)?;
            } else {
                let header = Header::clone(&self.block);
                self.take_header(&header)?;
            }
        }
        Ok(count)
    }

    fn take_header(&mut self, header: &Header) -> Result<(), Error> {
        if header.as_bytes().iter().all(|&b| b == 0) {
            if self.member.is_none() {
                return Err(StreamError::NoMember.into());
            }
            self.state = State::End(0);
            return Ok(());
        }
        if self.member.is_some() {
            return Err(StreamError::SecondMember.into());
        }
        if checksum(header)? != checksum(&sealed(header))? {
            return Err(StreamError::TarHeader.into());
        }
        let size = unsigned(&header.as_old().size, "size")?;
        let kind = header.entry_type();
        if matches!(
            kind,
            EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader
        ) {
            self.texts += 1;
            if self.texts > MAX_TEXTS || size > MAX_TEXT {
                return Err(StreamError::TarField("extended header").into());
            }
            self.state = State::Text(kind, Vec::new(), size, padding(size));
            return Ok(());
        }
        self.begin_member(header, kind, size)
    }

    fn begin_member(&mut self, header: &Header, kind: EntryType, size: u64) -> Result<(), Error> {
        let extended = std::mem::take(&mut self.extended);
        let raw_name = extended
            .sparse
            .name
            .or(extended.path)
            .or(self.long_name.take())
            .unwrap_or_else(|| header.path_bytes().into_owned());
        refuse_other_kinds(kind, &raw_name)?;
        self.stored = extended.size.unwrap_or(size);
        self.padding = padding(self.stored);

        let gnu_sparse = match kind {
            EntryType::GNUSparse => Some(header.as_gnu().ok_or(StreamError::TarField("format"))?),
            _ => None,
        };
        let sparse_size = match gnu_sparse {
            Some(gnu) => Some(unsigned(&gnu.realsize, "real size")?),
            None => extended.sparse.real_size,
        };
        let fields = header.as_old();
        let mtime = extended.mtime.map_or_else(|| time(&fields.mtime), Ok)?;
        let member = Member {
            name: plain_name(&raw_name)?,
            size: sparse_size.unwrap_or(self.stored),
            stored: self.stored,
            mode: (unsigned(&fields.mode, "mode")? & 0o7777) as u32,
            mtime,
        };
        self.receiver.begin(&member)?;

        let real_size = member.size;
        self.member = Some(member);
        if let Some(gnu) = gnu_sparse {
            self.take_entries(&gnu.sparse, real_size)?;
            self.after_extension(gnu.isextended)
        } else if extended.sparse.map_in_data {
            self.state = State::MapInData(MapText::default());
            Ok(())
        } else {
            let whole = Extent {
                offset: 0,
                length: real_size,
            };
            for region in extended.sparse.map.unwrap_or_else(|| vec![whole]) {
                self.map.add(region, real_size)?;
            }
            self.begin_data()
        }
    }

    fn take_extension(&mut self, extension: &GnuExtSparseHeader) -> Result<(), Error> {
        let real_size = self.member.as_ref().map_or(0, |member| member.size);
        self.take_entries(&extension.sparse, real_size)?;
        self.after_extension(extension.isextended)
    }

    fn after_extension(&mut self, more: [u8; 1]) -> Result<(), Error> {
        if more == [0] {
            self.begin_data()
        } else {
            self.state = State::Extension;
            Ok(())
        }
    }

    fn take_entries(&mut self, entries: &[GnuSparseHeader], real_size: u64) -> Result<(), Error> {
        for entry in entries {
            if entry.numbytes[0] == 0 {
                // The rest is unused. It counts all the same: a chain of empty blocks must end too.
                self.map.count(entries.len())?;
                break;
            }
            let region = Extent {
                offset: unsigned(&entry.offset, "sparse map")?,
                length: unsigned(&entry.numbytes, "sparse map")?,
            };
            self.map.add(region, real_size)?;
        }
        Ok(())
    }

    fn take_map_byte(&mut self, byte: u8) -> Result<usize, Error> {
        let State::MapInData(text) = &mut self.state else {
            return Ok(0);
        };
        if self.stored == 0 {
            return Err(StreamError::SparseMap("is longer than what is stored").into());
        }
        self.stored -= 1;
        text.taken += 1;
        let real_size = self.member.as_ref().map_or(0, |member| member.size);
        let complete = text.take(byte, &mut self.map, real_size)?;
        // The map is padded to a block.
        if complete && text.taken.is_multiple_of(BLOCK as u64) {
            self.begin_data()?;
        }
        Ok(1)
    }

    fn begin_data(&mut self) -> Result<(), Error> {
        if self.map.mapped() != self.stored {
            return Err(StreamError::SparseMap("is not that of what is stored").into());
        }
        self.state = State::Data;
        self.settle()
    }

    fn take_data(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let Some(region) = self.map.regions.get(self.map.current) else {
            return Err(StreamError::SparseMap("is not that of what is stored").into());
        };
        let count = at_most(bytes, region.length - self.map.position);
        self.receiver
            .data(region.offset + self.map.position, &bytes[..count])?;
        self.map.position += count as u64;
        self.stored -= count as u64;
        if self.map.position == region.length {
            self.map.current += 1;
            self.map.position = 0;
        }
        Ok(count)
    }

    fn take_text(&mut self, kind: EntryType, mut text: Vec<u8>) -> Result<(), Error> {
        match kind {
            EntryType::GNULongName => {
                let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
                text.truncate(end);
                self.long_name = Some(text);
            }
            EntryType::XHeader => self.extended = Extended::parse(&text)?,
            // A long link target belongs to a link, which is refused; what holds for all members says nothing of an image.
            _ => {}
        }
        Ok(())
    }
}

fn at_most(bytes: &[u8], limit: u64) -> usize {
    usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()))
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// The header with the checksum that it should have.
fn sealed(header: &Header) -> Header {
    let mut sealed = header.clone();
    sealed.set_cksum();
    sealed
}

fn checksum(header: &Header) -> Result<u64, StreamError> {
    unsigned(&header.as_old().cksum, "checksum")
}

fn refuse_other_kinds(kind: EntryType, name: &[u8]) -> Result<(), StreamError> {
    /// GNU tar's folder with a list of its files.
    const DUMP_DIRECTORY: u8 = b'D';

    let kind = match kind {
        // In v7 a folder is a file whose name ends in a slash.
        EntryType::Regular if name.ends_with(b"/") => "a folder",
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => return Ok(()),
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Directory => "a folder",
        EntryType::Fifo => "a FIFO",
        other if other.as_byte() == DUMP_DIRECTORY => "a folder",
        _ => "of an unknown kind",
    };
    Err(StreamError::NotAFile {
        name: String::from_utf8_lossy(name).into_owned(),
        kind,
    })
}

fn plain_name(raw: &[u8]) -> Result<String, StreamError> {
    let mut name = raw;
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME)
        .filter(|name| !name.contains(['/', '\0']) && *name != "." && *name != "..")
        .map(str::to_owned)
        .ok_or_else(|| StreamError::Name(String::from_utf8_lossy(raw).into_owned()))
}

/// A number that is not negative.
fn unsigned(bytes: &[u8], what: &'static str) -> Result<u64, StreamError> {
    number(bytes)
        .and_then(|value| u64::try_from(value).ok())
        .ok_or(StreamError::TarField(what))
}

/// A time; an empty field is 1970.
fn time(bytes: &[u8]) -> Result<i64, StreamError> {
    number(bytes).ok_or(StreamError::TarField("modification time"))
}

/// Octal digits between blanks or NULs, none at all being 0, or base-256. The `tar` crate's own reading refuses empty fields, and
/// drops what a base-256 number has beyond 64 bits, its sign too.
fn number(bytes: &[u8]) -> Option<i64> {
    let (&first, rest) = bytes.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = i64::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        return rest.iter().try_fold(start, |value, &byte| {
            value.checked_mul(256)?.checked_add(i64::from(byte))
        });
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.trim_start_matches(' ');
    let end = digits.find([' ', '\0']).unwrap_or(digits.len());
    match &digits[..end] {
        "" => Some(0),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => i64::from_str_radix(digits, 8).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
