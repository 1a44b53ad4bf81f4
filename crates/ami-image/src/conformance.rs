//! The tests that every [`ImageSink`] must pass.
//!
//! ```no_run
//! # use ami_image::ImageSink;
//! # use ami_image::conformance::{Sinks, check_sink};
//! # fn example(mut mine: impl Sinks) {
//! check_sink(&mut mine);
//! # }
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sink::{Description, ImageSink};

/// How the tests reach an implementation.
pub trait Sinks {
    /// The implementation.
    type Sink: ImageSink;

    /// A new sink. Images of all of them go to one place.
    fn sink(&mut self) -> Self::Sink;

    /// The bytes of the finished image of that name; `None`: there is none.
    fn image(&mut self, name: &str) -> Option<Vec<u8>>;

    /// Whether there is anything at that place but finished images, such as a temporary file.
    fn has_remains(&mut self) -> bool;
}

/// Runs all tests.
///
/// # Panics
/// A test failed.
pub fn check_sink<S: Sinks>(sinks: &mut S) {
    images_come_out_as_they_went_in(sinks);
    what_is_not_finished_leaves_nothing(sinks);
}

fn describe(name: &str, size: usize) -> Description {
    Description {
        name: name.to_owned(),
        size: size as u64,
        mode: 0o644,
        mtime: 1_700_000_000,
    }
}

/// Bytes of which none is zero and no two neighbouring blocks are alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 + 1).collect()
}

/// A size with pieces of data at their offsets; everything else is a hole.
type Example = (usize, Vec<(usize, Vec<u8>)>);

fn examples() -> Vec<Example> {
    let steps = |length: usize, step: usize| {
        let all = pattern(length);
        let pieces = all.chunks(step).enumerate();
        let pieces = pieces.map(|(index, piece)| (index * step, piece.to_vec()));
        (length, pieces.collect())
    };
    let mut zeros_in_data = pattern(20_000);
    zeros_in_data[3_000..13_000].fill(0);
    vec![
        (0, vec![]),
        (1, vec![(0, b"x".to_vec())]),
        (1 << 20, vec![]),
        (1 << 20, vec![(0, pattern(5000))]),
        (1 << 20, vec![((1 << 20) - 5000, pattern(5000))]),
        (
            3 << 20,
            vec![(70_001, pattern(4096)), (1 << 20, pattern(70_000))],
        ),
        (20_000, vec![(0, zeros_in_data)]),
        (20_000, vec![(0, vec![0; 20_000])]),
        (
            5,
            vec![(0, vec![]), (0, b"ab".to_vec()), (2, b"cde".to_vec())],
        ),
        // A block of a snapshot has 524,288 bytes: pieces that end before, at and behind its end.
        steps(1_200_000, 524_287),
        steps(1_048_576, 524_288),
        steps(1_200_000, 524_289),
        steps(100_000, 999),
    ]
}

fn images_come_out_as_they_went_in<S: Sinks>(sinks: &mut S) {
    let examples = examples();
    for (number, (size, pieces)) in examples.iter().enumerate() {
        let name = format!("example-{number}.img");
        let mut sink = sinks.sink();
        sink.begin(&describe(&name, *size)).expect("begins");
        let mut expected = vec![0; *size];
        for (offset, piece) in pieces {
            expected[*offset..offset + piece.len()].copy_from_slice(piece);
            sink.write(*offset as u64, piece).expect("writes");
        }
        assert!(sinks.image(&name).is_none(), "{name} is there too early");
        drop(sink.finish().expect("finishes"));
        assert!(
            sinks.image(&name) == Some(expected),
            "{name} is not what was written"
        );
        assert!(!sinks.has_remains(), "{name} left something");
    }
    // The last of them did not disturb the first.
    assert_eq!(sinks.image("example-1.img").as_deref(), Some(&b"x"[..]));
}

fn what_is_not_finished_leaves_nothing<S: Sinks>(sinks: &mut S) {
    let name = "interrupted.img";
    for step in 0..3 {
        let mut sink = sinks.sink();
        if step > 0 {
            sink.begin(&describe(name, 1 << 20)).expect("begins");
        }
        if step > 1 {
            sink.write(0, &pattern(600_000)).expect("writes");
        }
        drop(sink);
        assert!(sinks.image(name).is_none(), "an unfinished image is there");
        assert!(!sinks.has_remains(), "step {step} left something");
    }
}

/// Images in memory: the smallest implementation, for the tests of what writes to a sink.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

/// The sink of [`Memory`].
#[derive(Debug)]
pub struct MemorySink {
    finished: Memory,
    image: Option<(Description, Vec<u8>)>,
}

impl Memory {
    fn images(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sinks for Memory {
    type Sink = MemorySink;

    fn sink(&mut self) -> MemorySink {
        MemorySink {
            finished: self.clone(),
            image: None,
        }
    }

    fn image(&mut self, name: &str) -> Option<Vec<u8>> {
        self.images().get(name).cloned()
    }

    fn has_remains(&mut self) -> bool {
        false
    }
}

impl ImageSink for MemorySink {
    type Error = io::Error;
    type Finished = Description;

    fn begin(&mut self, image: &Description) -> io::Result<()> {
        let size = usize::try_from(image.size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.image = Some((image.clone(), vec![0; size]));
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (_, bytes) = self.image.as_mut().ok_or(io::ErrorKind::InvalidInput)?;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.saturating_add(data.len());
        let place = bytes.get_mut(begin..end);
        let place = place.ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(data);
        Ok(())
    }

    fn finish(self) -> io::Result<Description> {
        let (description, bytes) = self.image.ok_or(io::ErrorKind::InvalidInput)?;
        let _ = self
            .finished
            .images()
            .insert(description.name.clone(), bytes);
        Ok(description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_in_memory_pass() {
        check_sink(&mut Memory::default());
    }
}
