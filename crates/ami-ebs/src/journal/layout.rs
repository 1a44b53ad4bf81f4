//! How the journal is laid out in its file.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 511, 512 to 1023 | the head, twice: each change goes to the older of the two |
//! | 4096 + 40 × i | the record of block i; zeros where there is none |
//!
//! | head | | record | |
//! |---|---|---|---|
//! | 0 | magic, 8 bytes | 0 | state: 1 sending, 2 written |
//! | 8 | number of the change, u64 | 4 | SHA-256 of the block |
//! | 16 | digest of the source's identity | 36 | CRC-32 of the head's seal and all before |
//! | 48 | digest of the parameters | | |
//! | 80 | blocks of the volume, u64 | | |
//! | 88 | generation, u32 | | |
//! | 92 | stage, u32 | | |
//! | 96 | snapshot ID, up to 64 bytes, then zeros | | |
//! | 160 | when it was started, in seconds since 1970, u64 | | |
//! | 168 | digest of the region | | |
//! | 508 | CRC-32 of all before | | |
//!
//! Numbers are little-endian. A record is torn, or of an earlier snapshot, if its check is wrong: the seal is the CRC-32 of generation and
//! snapshot ID.

use crate::block::Digest;

/// The format and its version.
const MAGIC: [u8; 8] = *b"ebs-jrn1";

pub(super) const HEAD: usize = 512;
pub(super) const RECORDS: u64 = 4096;
pub(super) const RECORD: usize = 40;

/// The longest ID: those of AWS have 22 characters.
const LONGEST_ID: usize = 64;

/// What the records are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    /// A digest of what identifies the source, whatever it holds.
    pub(crate) source: Digest,
    /// A digest of the snapshot's parameters.
    pub(crate) parameters: Digest,
    /// How many blocks the volume has.
    pub(crate) blocks: u64,
    /// A digest of the region that the snapshot is in.
    pub(crate) region: Digest,
}

/// How far a snapshot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Blocks are written.
    Writing,
    /// All were written, and EBS is, or was, told so.
    Completing,
    /// EBS has said that it is complete, or will be.
    Complete,
}

/// What is in the head, besides the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// How many snapshots of this subject were given up.
    pub(crate) generation: u32,
    /// How far the snapshot has come.
    pub(crate) stage: Stage,
    /// Its ID; `None` before it was started.
    pub(crate) snapshot: Option<String>,
    /// When it was started: seconds since 1970.
    pub(crate) started: u64,
}

impl Head {
    /// That of a snapshot that is to be started.
    pub(crate) fn of_generation(generation: u32) -> Self {
        Self {
            generation,
            stage: Stage::Writing,
            snapshot: None,
            started: 0,
        }
    }

    pub(super) fn seal(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.generation.to_le_bytes());
        crc.update(self.snapshot.as_deref().unwrap_or_default().as_bytes());
        crc.finalize()
    }
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// Nothing was sent.
    None,
    /// It was, or is, on its way: what EBS has is not known.
    Sending,
    /// EBS has what has this digest.
    Written(Digest),
}

/// A head, and the number of the change that wrote it.
pub(super) fn head_bytes(change: u64, subject: &Subject, head: &Head) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &MAGIC);
    put(8, &change.to_le_bytes());
    put(16, &subject.source);
    put(48, &subject.parameters);
    put(80, &subject.blocks.to_le_bytes());
    put(88, &head.generation.to_le_bytes());
    let stage: u32 = match head.stage {
        Stage::Writing => 0,
        Stage::Completing => 1,
        Stage::Complete => 2,
    };
    put(92, &stage.to_le_bytes());
    put(96, head.snapshot.as_deref().unwrap_or_default().as_bytes());
    put(160, &head.started.to_le_bytes());
    put(168, &subject.region);
    let check = crc32fast::hash(&bytes[..HEAD - 4]);
    bytes[HEAD - 4..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// What is where the heads are.
pub(super) enum Found {
    Nothing,
    /// It is no journal.
    Foreign,
    /// The number of the change, and what is in the newer head.
    Head(u64, Subject, Head),
}

/// Reads both heads.
pub(super) fn parse_heads(bytes: &[u8; 2 * HEAD]) -> Found {
    let newest = bytes
        .chunks_exact(HEAD)
        .filter_map(parse_head)
        .max_by_key(|(change, ..)| *change);
    let is_ours = |head: &[u8]| head.starts_with(&MAGIC) || head.iter().all(|byte| *byte == 0);
    match newest {
        Some((change, subject, head)) => Found::Head(change, subject, head),
        // It was torn when it was made.
        None if bytes.chunks_exact(HEAD).all(is_ours) => Found::Nothing,
        None => Found::Foreign,
    }
}

fn parse_head(bytes: &[u8]) -> Option<(u64, Subject, Head)> {
    let (rest, check) = bytes.split_last_chunk::<4>()?;
    if !rest.starts_with(&MAGIC) || u32::from_le_bytes(*check) != crc32fast::hash(rest) {
        return None;
    }
    let u32_at = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    let subject = Subject {
        source: rest.get(16..48)?.try_into().ok()?,
        parameters: rest.get(48..80)?.try_into().ok()?,
        blocks: u64_at(80)?,
        region: rest.get(168..200)?.try_into().ok()?,
    };
    let id = rest.get(96..96 + LONGEST_ID)?;
    let id = id.split(|byte| *byte == 0).next().unwrap_or_default();
    let id = std::str::from_utf8(id).ok()?;
    let head = Head {
        generation: u32_at(88)?,
        stage: match u32_at(92)? {
            0 => Stage::Writing,
            1 => Stage::Completing,
            2 => Stage::Complete,
            _ => return None,
        },
        snapshot: (!id.is_empty()).then(|| id.to_owned()),
        started: u64_at(160)?,
    };
    Some((u64_at(8)?, subject, head))
}

/// Whether an ID has a form that the head can hold.
pub(crate) fn is_id(id: &str) -> bool {
    id.len() <= LONGEST_ID
        && id.starts_with("snap-")
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Where the record of a block is.
pub(super) fn place_of(index: u64) -> u64 {
    RECORDS + index * RECORD as u64
}

/// The record of a block.
pub(super) fn record_bytes(seal: u32, index: u64, record: Record) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let (state, digest) = match record {
        Record::None => return bytes,
        Record::Sending => (1, Digest::default()),
        Record::Written(digest) => (2, digest),
    };
    bytes[0] = state;
    bytes[4..36].copy_from_slice(&digest);
    let check = check(seal, index, &bytes[..36]);
    bytes[36..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn check(seal: u32, index: u64, record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seal.to_le_bytes());
    crc.update(&index.to_le_bytes());
    crc.update(record);
    crc.finalize()
}

/// What is noted in a record.
pub(super) fn parse_record(seal: u32, index: u64, bytes: &[u8]) -> Record {
    let Some((record, found)) = bytes.split_last_chunk::<4>() else {
        return Record::None;
    };
    if bytes.iter().all(|byte| *byte == 0) {
        return Record::None;
    }
    let is_whole = u32::from_le_bytes(*found) == check(seal, index, record);
    match (record[0], record[4..].try_into()) {
        (2, Ok(digest)) if is_whole => Record::Written(digest),
        (1, _) if is_whole => Record::Sending,
        // What is torn was about to become something else.
        _ => Record::Sending,
    }
}
