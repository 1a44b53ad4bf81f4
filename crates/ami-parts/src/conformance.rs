//! The tests that every [`PartSink`] and [`PartSource`] must pass, and minimal implementations in memory.
//!
//! ```no_run
//! # use ami_parts::conformance::{PartSinks, PartSources, check_sink, check_source};
//! # fn example(mut my_sinks: impl PartSinks, mut my_sources: impl PartSources) {
//! check_sink(&mut my_sinks);
//! check_source(&mut my_sources);
//! # }
//! ```

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};

use crate::cut::PartWriter;
use crate::names::{manifest_file_name, part_file_name};
use crate::sink::{PartDigest, PartSink, WrittenPart};
use crate::source::PartSource;

/// Makes the sinks to be tested.
pub trait PartSinks {
    /// The implementation.
    type Sink: PartSink;

    /// A sink for the bundle of that name. All sinks write to one place.
    fn sink(&mut self, bundle: &str) -> Self::Sink;

    /// The same, but part `part` (from 0) cannot be stored, which some call reports, the next `flush` at the latest.
    fn sink_that_fails(&mut self, bundle: &str, part: usize) -> Self::Sink;

    /// Whether a part that is stored replaces one of an older bundle at once. If not, an older bundle is unchanged until the new one is
    /// published.
    fn replaces_at_once(&self) -> bool {
        false
    }

    /// Everything at that place, temporary files included.
    fn files(&mut self) -> BTreeMap<String, Vec<u8>>;
}

/// Runs all tests of sinks.
///
/// # Panics
/// A test failed.
pub fn check_sink<S: PartSinks>(sinks: &mut S) {
    parts_are_stored_under_their_names(sinks);
    a_bundle_makes_way_for_the_next_of_its_name(sinks);
    an_error_or_interruption_leaves_nothing(sinks);
}

/// Bytes without a period, so that parts in the wrong order are noticed.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn manifest_of(parts: &[WrittenPart]) -> Vec<u8> {
    let lines = parts.iter().map(|part| {
        let WrittenPart { name, digest } = part;
        format!("{name} {} {}\n", digest.size, hex::encode(digest.sha1))
    });
    lines.collect::<String>().into_bytes()
}

/// Bundles `stream`, written in steps of `step` bytes, and returns the files that must be there then.
fn store<S: PartSink>(
    sink: S,
    bundle: &str,
    part_size: usize,
    most: usize,
    stream: &[u8],
    step: usize,
) -> Result<BTreeMap<String, Vec<u8>>, S::Error> {
    let can_rename = sink.can_rename();
    let size = NonZeroU64::new(part_size as u64).expect("a part has bytes");
    let mut writer = PartWriter::new(sink, bundle, size, most as u64);
    for bytes in stream.chunks(step) {
        writer.write(bytes)?;
    }
    let (sink, parts) = writer.finish()?;
    let count = if can_rename {
        stream.len().div_ceil(part_size)
    } else {
        most.div_ceil(part_size)
    };
    let mut files = BTreeMap::new();
    assert_eq!(parts.len(), stream.len().div_ceil(part_size));
    for (index, (part, bytes)) in parts.iter().zip(stream.chunks(part_size)).enumerate() {
        assert_eq!(part.name, part_file_name(bundle, index, count));
        assert_eq!(part.digest.size, bytes.len() as u64);
        assert_eq!(part.digest.sha1, <[u8; 20]>::from(Sha1::digest(bytes)));
        let _ = files.insert(part.name.clone(), bytes.to_vec());
    }
    let (name, manifest) = (manifest_file_name(bundle), manifest_of(&parts));
    drop(sink.publish(&parts, (&name, &manifest))?);
    let _ = files.insert(name, manifest);
    Ok(files)
}

fn parts_are_stored_under_their_names<S: PartSinks>(sinks: &mut S) {
    let mut expected = BTreeMap::new();
    for (number, (part_size, length, most, step)) in [
        (4, 0, 100, 1),
        (4, 1, 100, 1),
        (4, 4, 4, 3),
        (4, 5, 8, 5),
        (4, 36, 36, 7),
        (4, 37, 40, 7),
        (4, 40, 41, 40),
        (4, 44, 4000, 11),
        (4, 403, 404, 100),
        (1000, 3_001, 5_000, 999),
        (1000, 3_000, 5_000, 1000),
        (1000, 2_999, 5_000, 1001),
        (1 << 20, 3_500_000, 4_000_000, 70_000),
    ]
    .into_iter()
    .enumerate()
    {
        let bundle = format!("example-{number}.img");
        let stream = pattern(length);
        let sink = sinks.sink(&bundle);
        let stored = store(sink, &bundle, part_size, most, &stream, step);
        expected.extend(stored.expect("the bundle is stored"));
        assert!(sinks.files() == expected, "{bundle} is not as it should be");
    }
}

fn a_bundle_makes_way_for_the_next_of_its_name<S: PartSinks>(sinks: &mut S) {
    let mut expected = sinks.files();
    for length in [10, 7, 0, 12] {
        let stored = store(sinks.sink("again"), "again", 4, 20, &pattern(length), 5);
        let stored = stored.expect("the bundle is stored");
        expected.extend(stored.clone());
        let files = sinks.files();
        for name in stored.keys() {
            assert!(files.get(name) == expected.get(name), "{name} is old");
        }
        expected = files;
    }
}

fn an_error_or_interruption_leaves_nothing<S: PartSinks>(sinks: &mut S) {
    store_older(sinks);
    let before = sinks.files();
    // A new bundle, and one that would replace the older bundle.
    for bundle in ["new.img", "a.img"] {
        for part in 0..3 {
            let failing = sinks.sink_that_fails(bundle, part);
            let result = store(failing, bundle, 5, 20, &pattern(14), 3);
            assert!(result.is_err(), "part {part} could not be stored");
            assert_given_up(sinks, bundle, &before, "a failure");
        }
        for length in [0, 1, 5, 7, 14] {
            let size = NonZeroU64::new(5).expect("five");
            let mut writer = PartWriter::new(sinks.sink(bundle), bundle, size, 20);
            writer.write(&pattern(length)).expect("writes");
            drop(writer);
            assert_given_up(sinks, bundle, &before, "an interruption");
        }
        let size = NonZeroU64::new(5).expect("five");
        let mut writer = PartWriter::new(sinks.sink(bundle), bundle, size, 20);
        writer.write(&pattern(14)).expect("writes");
        drop(writer.finish().expect("all parts are stored"));
        assert_given_up(sinks, bundle, &before, "an unpublished bundle");
    }
}

/// The bundle that another one of its name would replace.
const OLDER: &str = "a.img";

fn store_older<S: PartSinks>(sinks: &mut S) {
    let older = store(sinks.sink(OLDER), OLDER, 4, 20, &pattern(15), 5);
    drop(older.expect("the older bundle is stored"));
}

/// Checks what a bundle that was not published has left.
fn assert_given_up<S: PartSinks>(
    sinks: &mut S,
    bundle: &str,
    before: &BTreeMap<String, Vec<u8>>,
    how: &str,
) {
    let after = sinks.files();
    if after == *before {
        return;
    }
    assert!(
        sinks.replaces_at_once() && bundle == OLDER,
        "{how} left something, or changed it"
    );
    let is_as_before = |(name, bytes)| before.get(name) == Some(bytes);
    assert!(after.iter().all(is_as_before), "{how} left something");
    let lacks = |name: &&String| !after.contains_key(*name);
    let mut gone = before.keys().filter(lacks);
    assert!(
        gone.all(|name| name.starts_with(OLDER)),
        "{how} took something of another bundle"
    );
    assert!(
        !after.contains_key(&manifest_file_name(OLDER)),
        "a manifest is left whose parts are not"
    );
    store_older(sinks);
    assert!(
        sinks.files() == *before,
        "the older bundle is not as it was"
    );
}

/// A part that a source must provide.
#[derive(Debug, Clone)]
pub struct StoredPart {
    /// `None`: the part is missing.
    pub bytes: Option<Vec<u8>>,
    /// The SHA-1 in the manifest.
    pub sha1: [u8; 20],
}

impl StoredPart {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            sha1: Sha1::digest(&bytes).into(),
            bytes: Some(bytes),
        }
    }
}

/// Makes the sources to be tested.
pub trait PartSources {
    /// The implementation.
    type Source: PartSource;

    /// A source of these parts, in this order.
    fn source(&mut self, parts: &[StoredPart]) -> Self::Source;
}

/// Runs all tests of sources.
///
/// # Panics
/// A test failed.
pub fn check_source<S: PartSources>(sources: &mut S) {
    parts_come_back_as_one_stream(sources);
    what_is_not_as_the_manifest_says_is_refused(sources);
}

/// Sizes of parts: usual and unusual ones, and one that is too large to be kept in memory.
const SIZES: [usize; 6] = [5, 0, 10 << 20, (16 << 20) + 12_345, 1, 300_000];

/// The bytes before an error, and whether there was one.
fn read_all(source: &mut impl PartSource, step: usize) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut buffer = vec![0; step];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return (all, false),
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(_) => return (all, true),
        }
    }
}

fn parts_come_back_as_one_stream<S: PartSources>(sources: &mut S) {
    assert_eq!(read_all(&mut sources.source(&[]), 10), (vec![], false));
    let small = SIZES.map(|size| StoredPart::new(pattern(size.min(70))));
    let large = SIZES.map(|size| StoredPart::new(pattern(size)));
    for (parts, step) in [(&small, 1), (&small, 64), (&large, 700_001)] {
        let expected: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.bytes.clone())
            .flatten()
            .collect();
        let mut source = sources.source(parts);
        assert!(read_all(&mut source, step) == (expected, false));
        // Reading again at the end finds the end again.
        assert!(read_all(&mut source, step) == (vec![], false));
    }
    // Dropping it in the middle ends it.
    let mut source = sources.source(&large);
    assert!(source.read(&mut [0; 3]).is_ok_and(|count| count == 3));
    drop(source);
}

fn what_is_not_as_the_manifest_says_is_refused<S: PartSources>(sources: &mut S) {
    for size in SIZES {
        let good = pattern(size);
        let mut damages = vec![None, Some([&good[..], b"!"].concat())];
        if size > 0 {
            let mut changed = good.clone();
            changed[size - 1] ^= 1;
            damages.extend([Some(changed), Some(good[..size - 1].to_vec())]);
        }
        for bytes in damages {
            let first = StoredPart::new(b"the first part".to_vec());
            let bad = StoredPart {
                bytes,
                ..StoredPart::new(good.clone())
            };
            let last = StoredPart::new(b"the last part".to_vec());
            let mut source = sources.source(&[first, bad, last]);
            let (read, is_error) = read_all(&mut source, 1 << 20);
            assert!(
                is_error,
                "a part of {size} bytes is wrong, and nobody says so"
            );
            assert!(
                read == b"the first part",
                "bytes of a wrong part were given"
            );
        }
    }
}

/// Bundles in memory.
#[derive(Debug, Clone)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    can_rename: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            files: Arc::default(),
            can_rename: true,
        }
    }
}

impl Memory {
    /// A place whose sinks cannot rename.
    pub fn without_renaming() -> Self {
        Self {
            can_rename: false,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink of [`Memory`].
#[derive(Debug)]
pub struct MemorySink {
    memory: Memory,
    parts: Vec<(String, Vec<u8>)>,
    fails: Option<usize>,
}

impl PartSinks for Memory {
    type Sink = MemorySink;

    fn sink(&mut self, _: &str) -> MemorySink {
        MemorySink {
            memory: self.clone(),
            parts: Vec::new(),
            fails: None,
        }
    }

    fn sink_that_fails(&mut self, bundle: &str, part: usize) -> MemorySink {
        MemorySink {
            fails: Some(part),
            ..self.sink(bundle)
        }
    }

    fn files(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.lock().clone()
    }
}

impl PartSink for MemorySink {
    type Error = io::Error;
    type Published = ();

    fn can_rename(&self) -> bool {
        self.memory.can_rename
    }

    fn begin(&mut self, _: usize, name: &str) -> io::Result<()> {
        self.parts.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (_, part) = self.parts.last_mut().ok_or(io::ErrorKind::InvalidInput)?;
        part.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, _: PartDigest) -> io::Result<()> {
        Ok(())
    }

    /// Reports errors late, as a sink does that works in the background.
    fn flush(&mut self) -> io::Result<()> {
        match self.fails {
            Some(part) if part < self.parts.len() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn publish(self, parts: &[WrittenPart], (name, manifest): (&str, &[u8])) -> io::Result<()> {
        let mut files = self.memory.lock();
        for (part, (begun_as, bytes)) in parts.iter().zip(self.parts) {
            let name = if self.memory.can_rename {
                part.name.clone()
            } else {
                begun_as
            };
            let _ = files.insert(name, bytes);
        }
        let _ = files.insert(name.to_owned(), manifest.to_vec());
        Ok(())
    }
}

/// Parts in memory.
#[derive(Debug)]
pub struct MemorySource {
    /// In reverse order.
    parts: Vec<StoredPart>,
    current: io::Cursor<Vec<u8>>,
}

impl PartSources for Memory {
    type Source = MemorySource;

    fn source(&mut self, parts: &[StoredPart]) -> MemorySource {
        MemorySource {
            parts: parts.iter().rev().cloned().collect(),
            current: io::Cursor::default(),
        }
    }
}

impl PartSource for MemorySource {
    type Error = io::Error;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = io::Read::read(&mut self.current, buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(part) = self.parts.pop() else {
                return Ok(0);
            };
            let bytes = part.bytes.ok_or(io::ErrorKind::NotFound)?;
            if <[u8; 20]>::from(Sha1::digest(&bytes)) != part.sha1 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.current = io::Cursor::new(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_in_memory_pass() {
        check_sink(&mut Memory::default());
        check_sink(&mut Memory::without_renaming());
        check_source(&mut Memory::default());
    }
}
