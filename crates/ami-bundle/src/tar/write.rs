//! Writing the tar stream, byte for byte as `tar --create --sparse --dereference --owner 0 --group 0` (GNU tar 1.34) does.

use ::tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};
use ami_image::{Extent, Image};

use super::{BLOCK, RECORD};

/// The longest name that stands in a header, in bytes.
const NAME_IN_HEADER: usize = 100;

/// Who owns the image in the archive, and its group.
const OWNER: &[u8; 4] = b"root";

/// Everything before the image's data: a long name's member, the header, the sparse map's extension blocks.
pub(crate) fn head(image: &Image, name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    if name.len() > NAME_IN_HEADER {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let size = text.len() as u64;
        let mut header = header(b"././@LongLink", 0o644, size, 0, EntryType::GNULongName);
        seal(&mut header);
        head.extend_from_slice(header.as_bytes());
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        head.append(&mut text);
    }
    let short_name = &name.as_bytes()[..name.len().min(NAME_IN_HEADER)];
    let kind = match image.sparse_map() {
        Some(_) => EntryType::GNUSparse,
        None => EntryType::Regular,
    };
    let (mode, size) = (image.mode(), image.data_size());
    let mut header = header(short_name, mode, size, image.mtime(), kind);
    let mut extensions = Vec::new();
    if let (Some(map), Some(gnu)) = (image.sparse_map(), header.as_gnu_mut()) {
        gnu.set_real_size(image.size());
        // GNU tar closes the map with an empty region at the end, also where the file ends in data.
        let end = Extent {
            offset: image.size(),
            length: 0,
        };
        let mut entries = map.iter().chain([&end]).peekable();
        write_entries(&mut gnu.sparse, &mut entries);
        gnu.set_is_extended(entries.peek().is_some());
        while entries.peek().is_some() {
            let mut block = GnuExtSparseHeader::new();
            write_entries(&mut block.sparse, &mut entries);
            block.set_is_extended(entries.peek().is_some());
            extensions.extend_from_slice(block.as_bytes());
        }
    }
    seal(&mut header);
    head.extend_from_slice(header.as_bytes());
    head.append(&mut extensions);
    head
}

/// How many zeros follow a head and data of these sizes: padding to a block, two blocks that end the archive, padding to a record.
pub(crate) fn tail_size(head: u64, data: u64) -> u64 {
    let member = head + data.next_multiple_of(BLOCK as u64);
    (member + 2 * BLOCK as u64).next_multiple_of(RECORD) - head - data
}

fn header(name: &[u8], mode: u32, size: u64, mtime: i64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime.cast_unsigned());
    header.set_entry_type(kind);
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name);
    if mtime < 0 {
        // Two's complement, for which the `tar` crate lacks the sign.
        let high = fields.mtime.len() - size_of_val(&mtime);
        fields.mtime[..high].fill(0xff);
    }
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.uname[..OWNER.len()].copy_from_slice(OWNER);
        gnu.gname[..OWNER.len()].copy_from_slice(OWNER);
    }
    header
}

/// GNU tar ends the checksum with a NUL and a blank, unlike the other numbers. Six digits hold every sum of a header's bytes.
fn seal(header: &mut Header) {
    header.set_cksum();
    let field = &mut header.as_old_mut().cksum;
    field.rotate_left(1);
    field[7] = b' ';
}

fn write_entries<'a>(
    slots: &mut [GnuSparseHeader],
    entries: &mut impl Iterator<Item = &'a Extent>,
) {
    for slot in slots {
        let Some(region) = entries.next() else {
            return;
        };
        slot.set_offset(region.offset);
        slot.set_length(region.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(size: u64, mtime: i64) -> Header {
        header(b"a", 0o644, size, mtime, EntryType::Regular)
    }

    #[test]
    fn numbers_are_octal_where_that_suffices() {
        let header = written(0o77777777777, 0);
        assert_eq!(header.as_old().mode, *b"0000644\0");
        assert_eq!(header.as_old().size, *b"77777777777\0");
        assert_eq!(header.as_old().mtime, *b"00000000000\0");
    }

    #[test]
    fn eight_gib_and_times_before_1970_are_base_256() {
        assert_eq!(
            written(1 << 33, 0).as_old().size,
            [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
        );
        assert_eq!(written(0, -1).as_old().mtime, [0xff; 12]);
        assert_eq!(
            written(0, -256).as_old().mtime,
            [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0
            ]
        );
    }

    #[test]
    fn a_checksum_has_six_digits_a_nul_and_a_blank() {
        let mut header = written(0, 0);
        seal(&mut header);
        let bytes = header.as_bytes();
        let others = bytes[..148].iter().chain(&bytes[156..]);
        let sum: u32 = others.map(|&byte| u32::from(byte)).sum();
        let text = format!("{:06o}\0 ", sum + 8 * u32::from(b' '));
        assert_eq!(bytes[148..156], *text.as_bytes());
    }

    #[test]
    fn the_stream_ends_at_a_record() {
        assert_eq!(tail_size(512, 0), 10_240 - 512);
        assert_eq!(tail_size(512, 10_240 - 512 - 1024), 1024);
        assert_eq!(tail_size(512, 10_240 - 512 - 1023), 1023 + 10_240);
        assert_eq!(tail_size(1024, 1), 10_240 - 1025);
    }
}
