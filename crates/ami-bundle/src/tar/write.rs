//! Writing the tar stream, byte for byte as `tar --create --sparse --dereference --owner 0 --group 0` (GNU tar 1.34) does.

use ami_image::{Extent, Image};

use super::{BLOCK, ENTRIES_IN_EXTENSION, ENTRIES_IN_HEADER, GNU_MAGIC, RECORD, checksum, field};

/// A plain file without holes; the same with a sparse map; a long name for the next member.
const PLAIN: u8 = b'0';
const SPARSE: u8 = b'S';
const LONG_NAME: u8 = b'L';

/// The longest name that stands in a header, in bytes.
const NAME_IN_HEADER: usize = 100;

/// Everything before the image's data: a long name's member, the header, the sparse map's extension blocks.
pub(crate) fn head(image: &Image, name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    if name.len() > NAME_IN_HEADER {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let mut header = header(b"././@LongLink", 0o644, text.len() as u64, 0, LONG_NAME);
        seal(&mut header);
        head.extend_from_slice(&header);
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        head.append(&mut text);
    }
    let short_name = &name.as_bytes()[..name.len().min(NAME_IN_HEADER)];
    let kind = if image.sparse_map().is_some() {
        SPARSE
    } else {
        PLAIN
    };
    let mut header = header(
        short_name,
        image.mode(),
        image.data_size(),
        image.mtime(),
        kind,
    );
    let mut extensions = Vec::new();
    if let Some(map) = image.sparse_map() {
        number(&mut header[field::REAL_SIZE], image.size().cast_signed());
        // GNU tar closes the map with an empty region at the end, also where the file ends in data.
        let end = Extent {
            offset: image.size(),
            length: 0,
        };
        let mut entries = map.iter().chain([&end]).peekable();
        write_entries(
            &mut header[field::SPARSE_MAP..],
            ENTRIES_IN_HEADER,
            &mut entries,
        );
        header[field::IS_EXTENDED] = u8::from(entries.peek().is_some());
        while entries.peek().is_some() {
            let mut block = [0; BLOCK];
            write_entries(&mut block, ENTRIES_IN_EXTENSION, &mut entries);
            block[field::EXTENSION_IS_EXTENDED] = u8::from(entries.peek().is_some());
            extensions.extend_from_slice(&block);
        }
    }
    seal(&mut header);
    head.extend_from_slice(&header);
    head.append(&mut extensions);
    head
}

/// How many zeros follow a head and data of these sizes: padding to a block, two blocks that end the archive, padding to a record.
pub(crate) fn tail_size(head: u64, data: u64) -> u64 {
    let member = head + data.next_multiple_of(BLOCK as u64);
    (member + 2 * BLOCK as u64).next_multiple_of(RECORD) - head - data
}

fn header(name: &[u8], mode: u32, size: u64, mtime: i64, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[field::NAME][..name.len()].copy_from_slice(name);
    number(&mut header[field::MODE], i64::from(mode));
    number(&mut header[field::USER], 0);
    number(&mut header[field::GROUP], 0);
    number(&mut header[field::SIZE], size.cast_signed());
    number(&mut header[field::MTIME], mtime);
    header[field::TYPE] = kind;
    header[field::MAGIC].copy_from_slice(GNU_MAGIC);
    header[field::USER_NAME][..4].copy_from_slice(b"root");
    header[field::GROUP_NAME][..4].copy_from_slice(b"root");
    header
}

/// Six octal digits, NUL, blank: unlike the other numbers.
fn seal(header: &mut [u8; BLOCK]) {
    let text = format!("{:06o}\0 ", checksum(header));
    header[field::CHECKSUM].copy_from_slice(text.as_bytes());
}

fn write_entries<'a>(
    block: &mut [u8],
    count: usize,
    entries: &mut impl Iterator<Item = &'a Extent>,
) {
    for (slot, region) in block
        .chunks_exact_mut(field::ENTRY)
        .zip(entries.take(count))
    {
        number(&mut slot[field::ENTRY_OFFSET], region.offset.cast_signed());
        number(&mut slot[field::ENTRY_LENGTH], region.length.cast_signed());
    }
}

/// Octal digits and a NUL where they suffice, else base-256: two's complement, big-endian, the first byte's high bit set.
fn number(field: &mut [u8], value: i64) {
    let digits = field.len() - 1;
    if value >= 0 && value >> (3 * digits) == 0 {
        let text = format!("{value:0digits$o}\0");
        field.copy_from_slice(text.as_bytes());
        return;
    }
    let sign = if value < 0 { 0xff } else { 0 };
    field.fill(sign);
    let bytes = value.to_be_bytes();
    let start = field.len() - bytes.len();
    field[start..].copy_from_slice(&bytes);
    field[0] = if value < 0 { 0xff } else { 0x80 };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(size: usize, value: i64) -> Vec<u8> {
        let mut field = vec![b'?'; size];
        number(&mut field, value);
        field
    }

    #[test]
    fn numbers_are_octal_where_that_suffices() {
        assert_eq!(written(8, 0o644), b"0000644\0");
        assert_eq!(written(12, 0o77777777777), b"77777777777\0");
        assert_eq!(written(12, 0), b"00000000000\0");
    }

    #[test]
    fn eight_gib_and_times_before_1970_are_base_256() {
        assert_eq!(
            written(12, 1 << 33),
            [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]
        );
        assert_eq!(written(12, -1), [0xff; 12]);
        assert_eq!(
            written(12, -256),
            [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0
            ]
        );
    }

    #[test]
    fn the_stream_ends_at_a_record() {
        assert_eq!(tail_size(512, 0), 10_240 - 512);
        assert_eq!(tail_size(512, 10_240 - 512 - 1024), 1024);
        assert_eq!(tail_size(512, 10_240 - 512 - 1023), 1023 + 10_240);
        assert_eq!(tail_size(1024, 1), 10_240 - 1025);
    }
}
