//! Splits a stream into parts of one size, each with its SHA-1.

use std::num::NonZeroU64;

use sha1::{Digest, Sha1};

use crate::names::part_file_name;
use crate::sink::{PartDigest, PartSink, WrittenPart};

/// The size in bytes of every part except the last: 10 MiB, as in the older suite.
pub const PART_SIZE: NonZeroU64 = NonZeroU64::new(10 * 1024 * 1024).unwrap();

/// Splits a stream into the parts of a bundle.
#[derive(Debug)]
pub struct PartWriter<S> {
    sink: S,
    bundle: String,
    part_size: NonZeroU64,
    /// The most parts that there can be.
    most: usize,
    current: Option<Open>,
    finished: Vec<PartDigest>,
}

#[derive(Debug)]
struct Open {
    digest: Sha1,
    size: u64,
}

impl<S: PartSink> PartWriter<S> {
    /// Writes a stream of at most `most` bytes to `sink`, as parts of `part_size` bytes of the bundle `bundle`.
    pub fn new(sink: S, bundle: &str, part_size: NonZeroU64, most: u64) -> Self {
        Self {
            sink,
            bundle: bundle.to_owned(),
            part_size,
            most: usize::try_from(most.div_ceil(part_size.get())).unwrap_or(usize::MAX),
            current: None,
            finished: Vec::new(),
        }
    }

    /// Appends to the stream.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), S::Error> {
        while !bytes.is_empty() {
            let mut part = match self.current.take() {
                Some(part) => part,
                None => self.begin()?,
            };
            let room = usize::try_from(self.part_size.get() - part.size).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.sink.write(now)?;
            part.digest.update(now);
            part.size += now.len() as u64;
            bytes = later;
            if part.size == self.part_size.get() {
                self.end(part)?;
            } else {
                self.current = Some(part);
            }
        }
        Ok(())
    }

    /// Ends the stream and waits until every part is stored. Returns the sink, which is still to be published, and the parts in order; an
    /// empty stream has none.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<(S, Vec<WrittenPart>), S::Error> {
        if let Some(part) = self.current.take() {
            self.end(part)?;
        }
        self.sink.flush()?;
        let count = if self.sink.can_rename() {
            self.finished.len()
        } else {
            self.most
        };
        let parts = self.finished.into_iter().enumerate();
        let parts = parts.map(|(index, digest)| WrittenPart {
            name: part_file_name(&self.bundle, index, count),
            digest,
        });
        Ok((self.sink, parts.collect()))
    }

    fn begin(&mut self) -> Result<Open, S::Error> {
        let index = self.finished.len();
        let name = part_file_name(&self.bundle, index, self.most);
        self.sink.begin(index, &name)?;
        Ok(Open {
            digest: Sha1::new(),
            size: 0,
        })
    }

    fn end(&mut self, part: Open) -> Result<(), S::Error> {
        let part = PartDigest {
            size: part.size,
            sha1: part.digest.finalize().into(),
        };
        self.finished.push(part);
        self.sink.end(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Memory, PartSinks};

    fn cut(memory: &mut Memory, part_size: u64, most: u64, stream: &[&[u8]]) -> Vec<WrittenPart> {
        let part_size = NonZeroU64::new(part_size).unwrap();
        let mut writer = PartWriter::new(memory.sink("a.img"), "a.img", part_size, most);
        for bytes in stream {
            writer.write(bytes).unwrap();
        }
        writer.finish().unwrap().1
    }

    fn sizes(part_size: u64, stream: &[&[u8]]) -> Vec<u64> {
        let parts = cut(&mut Memory::default(), part_size, 100, stream);
        parts.iter().map(|part| part.digest.size).collect()
    }

    #[test]
    fn a_stream_is_cut_at_multiples_of_the_part_size() {
        assert_eq!(sizes(4, &[b"abcdefghij"]), [4, 4, 2]);
        assert_eq!(sizes(4, &[b"a", b"bcdefg", b"", b"hij"]), [4, 4, 2]);
    }

    #[test]
    fn an_exact_multiple_has_no_empty_last_part() {
        assert_eq!(sizes(4, &[b"abcd"]), [4]);
        assert_eq!(sizes(4, &[b"abcd", b"efgh"]), [4, 4]);
        assert_eq!(sizes(4, &[]), [] as [u64; 0]);
    }

    #[test]
    fn names_have_the_digits_of_the_number_of_parts_or_of_the_most_that_there_can_be() {
        let names = |memory: &mut Memory, most| {
            let parts = cut(memory, 4, most, &[b"abcdefghij"]);
            let names = parts.into_iter().map(|part| part.name);
            names.collect::<Vec<_>>().join(" ")
        };
        let renaming = &mut Memory::default();
        for most in [10, 40, 4000] {
            let expected = "a.img.part.0 a.img.part.1 a.img.part.2";
            assert_eq!(names(renaming, most), expected);
        }
        let fixed = &mut Memory::without_renaming();
        for (most, expected) in [
            (10, "a.img.part.0 a.img.part.1 a.img.part.2"),
            (36, "a.img.part.0 a.img.part.1 a.img.part.2"),
            (37, "a.img.part.00 a.img.part.01 a.img.part.02"),
            (4000, "a.img.part.0000 a.img.part.0001 a.img.part.0002"),
        ] {
            assert_eq!(names(fixed, most), expected);
        }
    }

    #[test]
    fn each_part_has_its_digest() {
        let parts = cut(&mut Memory::default(), 4, 100, &[b"abcdefghij"]);
        let found: Vec<[u8; 20]> = parts.iter().map(|part| part.digest.sha1).collect();
        let parts = [&b"abcd"[..], b"efgh", b"ij"];
        let expected: [[u8; 20]; 3] = parts.map(|part| Sha1::digest(part).into());
        assert_eq!(found, expected);
    }
}
