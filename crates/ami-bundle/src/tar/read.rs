//! Reading the tar stream as it comes, in whatever pieces: v7, ustar, old and new GNU, pax, with every sparse format.
//!
//! The stream may be somebody else's: one member, a plain file with a plain name, of the size that the manifest says; sizes and the
//! sparse map are checked before anything is done with them, and what is kept in memory has limits.

use crate::error::{Error, StreamError};
use ami_image::Extent;

use super::pax::{Extended, decimal};
use super::{BLOCK, ENTRIES_IN_EXTENSION, ENTRIES_IN_HEADER, checksum, field};

/// The most map entries that are read: an image of 16 GiB in which every other block of 4 KiB is a hole has as many.
pub(super) const MAX_REGIONS: usize = 1 << 21;

pub(super) const TOO_MANY_REGIONS: StreamError = StreamError::SparseMap("has too many entries");

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
    block: Box<[u8; BLOCK]>,
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
    Text(u8, Vec<u8>, u64, u64),
    /// An extension block of the sparse map.
    Extension,
    /// The sparse map of pax 1.0.
    MapInData(MapText),
    Data,
    Padding,
    End(u64),
}

/// The decimal numbers, a line each, of pax 1.0's map.
#[derive(Debug, Default)]
struct MapText {
    line: Vec<u8>,
    entries: Option<u64>,
    offset: Option<u64>,
    /// Bytes so far.
    taken: u64,
}

#[derive(Debug, Default)]
struct Map {
    regions: Vec<Extent>,
    /// Entries seen, empty and unused ones included.
    entries: usize,
    /// The region that is being read, and how far.
    current: usize,
    position: u64,
}

impl<R: Receiver> TarReader<R> {
    pub(crate) fn new(receiver: R) -> Self {
        Self {
            receiver,
            state: State::Header,
            block: Box::new([0; BLOCK]),
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
        self.block[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        if self.filled == BLOCK {
            self.filled = 0;
            let block = *self.block;
            if matches!(self.state, State::Extension) {
                self.take_extension(&block)?;
            } else {
                self.take_header(&block)?;
            }
        }
        Ok(count)
    }

    fn take_header(&mut self, header: &[u8; BLOCK]) -> Result<(), Error> {
        if header.iter().all(|&b| b == 0) {
            if self.member.is_none() {
                return Err(StreamError::NoMember.into());
            }
            self.state = State::End(0);
            return Ok(());
        }
        if self.member.is_some() {
            return Err(StreamError::SecondMember.into());
        }
        if unsigned(&header[field::CHECKSUM], "checksum")? != u64::from(checksum(header)) {
            return Err(StreamError::TarHeader.into());
        }
        let size = unsigned(&header[field::SIZE], "size")?;
        let kind = header[field::TYPE];
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            self.texts += 1;
            if self.texts > MAX_TEXTS || size > MAX_TEXT {
                return Err(StreamError::TarField("extended header").into());
            }
            self.state = State::Text(kind, Vec::new(), size, padding(size));
            return Ok(());
        }
        self.begin_member(header, kind, size)
    }

    fn begin_member(&mut self, header: &[u8; BLOCK], kind: u8, size: u64) -> Result<(), Error> {
        let extended = std::mem::take(&mut self.extended);
        let raw_name = extended
            .sparse
            .name
            .or(extended.path)
            .or(self.long_name.take())
            .unwrap_or_else(|| header_name(header));
        refuse_other_kinds(kind, &raw_name)?;
        self.stored = extended.size.unwrap_or(size);
        self.padding = padding(self.stored);

        let gnu_sparse = kind == b'S';
        let sparse_size = if gnu_sparse {
            Some(unsigned(&header[field::REAL_SIZE], "real size")?)
        } else {
            extended.sparse.real_size
        };
        let mtime = extended
            .mtime
            .map_or_else(|| time(&header[field::MTIME]), Ok)?;
        let member = Member {
            name: plain_name(&raw_name)?,
            size: sparse_size.unwrap_or(self.stored),
            stored: self.stored,
            mode: (unsigned(&header[field::MODE], "mode")? & 0o7777) as u32,
            mtime,
        };
        self.receiver.begin(&member)?;

        let real_size = member.size;
        self.member = Some(member);
        if gnu_sparse {
            let more = header[field::IS_EXTENDED] != 0;
            let entries = &header[field::SPARSE_MAP..];
            self.take_entries(entries, ENTRIES_IN_HEADER, real_size)?;
            self.after_extension(more)
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

    fn take_extension(&mut self, block: &[u8; BLOCK]) -> Result<(), Error> {
        let real_size = self.member.as_ref().map_or(0, |member| member.size);
        self.take_entries(block, ENTRIES_IN_EXTENSION, real_size)?;
        self.after_extension(block[field::EXTENSION_IS_EXTENDED] != 0)
    }

    fn after_extension(&mut self, more: bool) -> Result<(), Error> {
        if more {
            self.state = State::Extension;
            Ok(())
        } else {
            self.begin_data()
        }
    }

    fn take_entries(&mut self, block: &[u8], count: usize, real_size: u64) -> Result<(), Error> {
        for entry in block.chunks_exact(field::ENTRY).take(count) {
            let length = &entry[field::ENTRY_LENGTH];
            if length[0] == 0 {
                // The rest is unused. It counts all the same: a chain of empty blocks must end too.
                self.map.count(count)?;
                break;
            }
            let region = Extent {
                offset: unsigned(&entry[field::ENTRY_OFFSET], "sparse map")?,
                length: unsigned(length, "sparse map")?,
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
        let mapped: u64 = self.map.regions.iter().map(|region| region.length).sum();
        if mapped != self.stored {
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

    fn take_text(&mut self, kind: u8, mut text: Vec<u8>) -> Result<(), Error> {
        match kind {
            b'L' => {
                let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
                text.truncate(end);
                self.long_name = Some(text);
            }
            b'x' => self.extended = Extended::parse(&text)?,
            // A long link target belongs to a link, which is refused; what holds for all members says nothing of an image.
            _ => {}
        }
        Ok(())
    }
}

impl Map {
    fn count(&mut self, entries: usize) -> Result<(), StreamError> {
        self.entries += entries;
        if self.entries > MAX_REGIONS {
            return Err(TOO_MANY_REGIONS);
        }
        Ok(())
    }

    fn add(&mut self, region: Extent, real_size: u64) -> Result<(), StreamError> {
        self.count(1)?;
        let end = region
            .offset
            .checked_add(region.length)
            .filter(|&end| end <= real_size)
            .ok_or(StreamError::SparseMap("runs past the end of the image"))?;
        let last_end = self
            .regions
            .last()
            .map_or(0, |last| last.offset + last.length);
        if region.offset < last_end {
            return Err(StreamError::SparseMap("overlaps itself or goes backwards"));
        }
        if end > region.offset {
            self.regions.push(region);
        }
        Ok(())
    }
}

impl MapText {
    /// Takes the next byte and says whether all entries are there.
    fn take(&mut self, byte: u8, map: &mut Map, real_size: u64) -> Result<bool, StreamError> {
        if self.entries == Some(0) {
            return Ok(true); // padding
        }
        if byte != b'\n' {
            self.line.push(byte);
            if self.line.len() > 20 {
                return Err(StreamError::SparseMap("is not made of numbers"));
            }
            return Ok(false);
        }
        let number =
            decimal(&self.line).map_err(|_| StreamError::SparseMap("is not made of numbers"))?;
        self.line.clear();
        match (&mut self.entries, self.offset.take()) {
            (None, _) => self.entries = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(left), Some(offset)) => {
                map.add(
                    Extent {
                        offset,
                        length: number,
                    },
                    real_size,
                )?;
                *left -= 1;
            }
        }
        Ok(self.entries == Some(0))
    }
}

fn at_most(bytes: &[u8], limit: u64) -> usize {
    usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()))
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

fn header_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[field::NAME]);
    let is_ustar = header[field::MAGIC].starts_with(b"ustar\0");
    let prefix = until_nul(&header[field::USTAR_PREFIX]);
    if is_ustar && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

fn refuse_other_kinds(kind: u8, name: &[u8]) -> Result<(), StreamError> {
    let kind = match kind {
        // In v7 a folder is a file whose name ends in a slash.
        b'0' | 0 if name.ends_with(b"/") => "a folder",
        b'0' | 0 | b'7' | b'S' => return Ok(()),
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' | b'4' => "a device",
        b'5' | b'D' => "a folder",
        b'6' => "a FIFO",
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

/// Octal digits between blanks or NULs, none at all being 0, or base-256.
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
