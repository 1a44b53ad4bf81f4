use super::*;
use std::collections::BTreeMap;

/// Keeps what comes, with holes as gaps.
#[derive(Debug, Default)]
struct Keep {
    members: Vec<Member>,
    data: BTreeMap<u64, u8>,
}

impl Receiver for Keep {
    fn begin(&mut self, member: &Member) -> Result<(), Error> {
        self.members.push(member.clone());
        Ok(())
    }
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        for (position, &byte) in (offset..).zip(bytes) {
            assert_eq!(self.data.insert(position, byte), None);
        }
        Ok(())
    }
}

fn read_in(step: usize, stream: &[u8]) -> Result<(Member, Keep), String> {
    let mut reader = TarReader::new(Keep::default());
    for piece in stream.chunks(step) {
        reader.push(piece).map_err(|e| e.to_string())?;
    }
    reader.finish().map_err(|e| e.to_string())
}

fn read(stream: &[u8]) -> Result<(Member, Keep), String> {
    let whole = read_in(usize::MAX, stream);
    for step in [1, 511, 512, 513] {
        let in_steps = read_in(step, stream);
        assert_eq!(
            whole.as_ref().map(|(m, k)| (m, &k.data)),
            in_steps.as_ref().map(|(m, k)| (m, &k.data)),
            "in steps of {step}"
        );
    }
    whole
}

fn refusal(stream: &[u8]) -> String {
    let error = read(stream).expect_err("it must be refused");
    let start = "the bundle's stream is damaged or not a bundle's: ";
    error.strip_prefix(start).unwrap_or(&error).to_owned()
}

struct Header(Box<[u8; BLOCK]>);

impl Header {
    fn new(kind: u8, name: &str, size: u64) -> Self {
        let mut header = Self(Box::new([0; BLOCK]));
        header.0[..name.len()].copy_from_slice(name.as_bytes());
        header.0[156] = kind;
        header
            .set(100, "0000640")
            .set(124, &format!("{size:011o}"))
            .set(136, "00000000017")
    }
    fn set(mut self, offset: usize, text: &str) -> Self {
        self.0[offset..offset + text.len()].copy_from_slice(text.as_bytes());
        self
    }
    fn set_bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }
    fn sparse(self, real_size: u64, map: &[(u64, u64)]) -> Self {
        let mut header = self
            .set(257, "ustar  ")
            .set(483, &format!("{real_size:011o}"));
        for (index, (offset, length)) in map.iter().enumerate() {
            header = header
                .set(386 + 24 * index, &format!("{offset:011o}"))
                .set(386 + 24 * index + 12, &format!("{length:011o}"));
        }
        header
    }
    fn bytes(mut self) -> Vec<u8> {
        // The checksum's own field counts as blanks.
        self = self.set(148, "        ");
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        self = self.set(148, &format!("{sum:06o}\0 "));
        self.0.to_vec()
    }
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    data
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn plain(name: &str, data: &[u8]) -> Vec<u8> {
    [
        Header::new(b'0', name, data.len() as u64).bytes(),
        padded(data),
        end(),
    ]
    .concat()
}

#[test]
fn a_plain_member_comes_out_whole() {
    let data: Vec<u8> = (0..1500).map(|i| i as u8).collect();
    let (member, kept) = read(&plain("a.img", &data)).unwrap();
    let expected = Member {
        name: "a.img".into(),
        size: 1500,
        stored: 1500,
        mode: 0o640,
        mtime: 15,
    };
    assert_eq!(member, expected);
    assert_eq!(kept.members, [expected]);
    assert!(kept.data.into_values().eq(data));
}

#[test]
fn the_end_of_the_archive_may_be_missing_or_long() {
    let stream = plain("a", b"data");
    for length in [1024, 1024 + BLOCK] {
        let _ = read(&stream[..length]).unwrap();
    }
    let zeros = vec![0; 1 << 20];
    let _ = read_in(65_536, &[&stream[..1536], &zeros].concat()).unwrap();
    let too_many = read_in(65_536, &[&stream[..1536], &zeros, &[0]].concat()).unwrap_err();
    assert!(too_many.ends_with("after the end of the tar archive"));
    assert_eq!(
        refusal(&[&stream[..], &[0, 1]].concat()),
        "there is data after the end of the tar archive"
    );
}

#[test]
fn a_stream_cut_anywhere_within_the_member_is_refused() {
    let stream = plain("a", &[7; 700]);
    for length in 1..2 * BLOCK + BLOCK {
        let error = read_in(usize::MAX, &stream[..length]).unwrap_err();
        assert!(
            error.contains("ends too early") || length < BLOCK,
            "{length}: {error}"
        );
    }
    assert_eq!(refusal(&[]), "its tar stream has no member");
    assert_eq!(refusal(&end()), "its tar stream has no member");
}

#[test]
fn old_gnu_sparse_members_keep_their_holes() {
    let header = Header::new(b'S', "s", 6).sparse(9000, &[(4096, 4), (8192, 2), (9000, 0)]);
    let stream = [header.bytes(), padded(b"abcdef"), end()].concat();
    let (member, kept) = read(&stream).unwrap();
    assert_eq!(member.size, 9000);
    let expected = [
        (4096, b'a'),
        (4097, b'b'),
        (4098, b'c'),
        (4099, b'd'),
        (8192, b'e'),
        (8193, b'f'),
    ];
    assert_eq!(kept.data, expected.into());
}

#[test]
fn an_image_that_is_one_hole_has_no_data() {
    let header = Header::new(b'S', "s", 0).sparse(1 << 30, &[(1 << 30, 0)]);
    let (member, kept) = read(&[header.bytes(), end()].concat()).unwrap();
    assert_eq!(member.size, 1 << 30);
    assert!(kept.data.is_empty());
}

#[test]
fn sparse_maps_that_make_no_sense_are_refused() {
    let refused = |stored: u64, real: u64, map: &[(u64, u64)]| {
        let header = Header::new(b'S', "s", stored).sparse(real, map);
        refusal(&[header.bytes(), padded(&vec![1; stored as usize]), end()].concat())
    };
    let past = "its sparse map runs past the end of the image";
    assert_eq!(refused(4, 100, &[(97, 4)]), past);
    assert_eq!(refused(0, 100, &[(101, 0)]), past);
    assert_eq!(refused(4, 100, &[(0o77777777777, 0o77777777777)]), past);
    let overlap = "its sparse map overlaps itself or goes backwards";
    assert_eq!(refused(8, 100, &[(10, 4), (13, 4)]), overlap);
    assert_eq!(refused(8, 100, &[(10, 4), (2, 4)]), overlap);
    let other = "its sparse map is not that of what is stored";
    assert_eq!(refused(8, 100, &[(10, 4)]), other);
    assert_eq!(refused(4, 100, &[(10, 8)]), other);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    // 2^63, in base-256, and all bits set: negative.
    let huge = [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    for bytes in [huge, [0xff; 12]] {
        let header = Header::new(b'0', "a", 0).set_bytes(124, &bytes);
        assert_eq!(refusal(&header.bytes()), "the tar header's size is invalid");
        let header = Header::new(b'S', "a", 0)
            .sparse(0, &[])
            .set_bytes(483, &bytes);
        assert_eq!(
            refusal(&header.bytes()),
            "the tar header's real size is invalid"
        );
    }
    let header = Header::new(b'0', "a", 0).set(124, "0000000008\0");
    assert_eq!(refusal(&header.bytes()), "the tar header's size is invalid");
}

#[test]
fn an_endless_sparse_map_is_refused() {
    let mut reader = TarReader::new(Keep::default());
    let mut header = Header::new(b'S', "s", 0).sparse(100, &[(0, 0); 4]);
    header.0[482] = 1;
    reader.push(&header.bytes()).unwrap();
    let mut extension = [0; BLOCK];
    for entry in extension[..504].chunks_exact_mut(12) {
        entry.copy_from_slice(b"00000000000\0");
    }
    extension[504] = 1;
    let blocks = extension.repeat(1000);
    let error = (0..1000).find_map(|_| reader.push(&blocks).err()).unwrap();
    assert!(
        error
            .to_string()
            .ends_with("its sparse map has too many entries")
    );
}

#[test]
fn finding_09_an_endless_chain_of_empty_sparse_maps_is_refused() {
    let mut reader = TarReader::new(Keep::default());
    let mut header = Header::new(b'S', "s", 0).sparse(100, &[]);
    header.0[482] = 1;
    reader.push(&header.bytes()).unwrap();
    let mut extension = [0; BLOCK];
    extension[504] = 1;
    let blocks = extension.repeat(1000);
    let error = (0..200).find_map(|_| reader.push(&blocks).err()).unwrap();
    assert!(
        error
            .to_string()
            .ends_with("its sparse map has too many entries")
    );
}

#[test]
fn whatever_is_no_plain_file_is_refused() {
    for (kind, word) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'5', "a folder"),
        (b'6', "a FIFO"),
        (b'V', "of an unknown kind"),
    ] {
        let stream = [Header::new(kind, "x", 0).bytes(), end()].concat();
        assert_eq!(
            refusal(&stream),
            format!("its tar member \"x\" is {word}, not a plain file")
        );
    }
    assert!(refusal(&Header::new(0, "v7/", 0).bytes()).contains("a folder"));
}

#[test]
fn names_that_could_leave_the_destination_are_refused() {
    for name in [
        "../x", "/x", "a/b", "..", ".", "", "./.", "./..", "././../x",
    ] {
        let error = refusal(&plain(name, b""));
        assert!(error.contains(&format!("{name:?}")), "{name}: {error}");
        assert!(error.contains("could leave the destination"));
    }
    let ustar = Header::new(b'0', "x", 0)
        .set(257, "ustar\x0000")
        .set(345, "..");
    assert!(refusal(&ustar.bytes()).contains("\"../x\""));
    assert_eq!(read(&plain("././x", b"")).unwrap().0.name, "x");
}

#[test]
fn a_second_member_is_refused() {
    let one = &plain("a", b"x")[..2 * BLOCK];
    let error = refusal(&[one, &plain("b", b"y")].concat());
    assert_eq!(error, "its tar stream has more than one member");
}

#[test]
fn long_names_are_read_and_their_size_limited() {
    let name = "n".repeat(255);
    let long = |name: &str| {
        [
            Header::new(b'L', "././@LongLink", name.len() as u64 + 1).bytes(),
            padded(name.as_bytes()),
            plain(&name[..100], b"x"),
        ]
        .concat()
    };
    assert_eq!(read(&long(&name)).unwrap().0.name, name);
    assert!(refusal(&long(&"n".repeat(256))).contains("not a plain file name"));
    let endless = Header::new(b'L', "x", (16 << 20) + 1).bytes();
    assert_eq!(
        refusal(&endless),
        "the tar header's extended header is invalid"
    );
    let many = [Header::new(b'L', "x", 1).bytes(), padded(b"x")]
        .concat()
        .repeat(9);
    assert_eq!(
        refusal(&many),
        "the tar header's extended header is invalid"
    );
}

#[test]
fn a_damaged_header_is_refused() {
    let mut stream = plain("a", b"x");
    stream[3] ^= 1;
    assert_eq!(refusal(&stream), "a tar header is damaged");
}

#[test]
fn a_sparse_member_of_another_format_is_refused() {
    let header = Header::new(b'S', "s", 0)
        .sparse(9000, &[])
        .set(257, "ustar\x0000");
    assert_eq!(
        refusal(&header.bytes()),
        "the tar header's format is invalid"
    );
}
