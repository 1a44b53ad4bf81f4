//! Turns parts back into the image.

use ami_image::{Description, ImageSink, Nowhere};
use ami_manifest::BundleKey;
use ami_parts::PartSource;
use ami_pool::{Buffer, Buffers, Pool};
use sha1::{Digest, Sha1};

use crate::cipher::StreamCipher;
use crate::cutter::{Cutter, Piece};
use crate::error::{Error, StreamError};
use crate::gunzip::{Guesses, Gunzip, InflateAlone};
use crate::schedule::{self, Sink, Source};
use crate::settings::Settings;
use crate::tar::read::{Member, Receiver, TarReader};

/// How much is read and decrypted at a time, in bytes.
const STEP: usize = 512 * 1024;

/// What the manifest says about the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// SHA-1 of the tar stream.
    pub digest: [u8; 20],
    /// The image's size in bytes; `None` if the manifest does not say it.
    pub size: Option<u64>,
    /// The sum of the parts' actual sizes in bytes, which limits the image where its size is not known.
    pub bundled_size: u64,
}

/// The largest ratio of data to its deflate stream: 258 bytes from two bits (RFC 1951, 3.2.5).
const MOST_INFLATED: u64 = 1032;

impl Expected {
    /// The most bytes of data that the image can have.
    pub(crate) fn most(&self) -> u64 {
        self.size
            .unwrap_or(self.bundled_size.saturating_mul(MOST_INFLATED))
    }
}

/// Unbundles the parts of `source` into `sink`, and returns what the sink returns for the finished image.
///
/// The sink is finished only when everything has been checked: every part's SHA-1, gzip's CRC-32 and length, the tar stream's SHA-1,
/// the image's size.
///
/// # Errors
/// The source's and the sink's errors; [`Error::Cipher`], [`Error::Stream`] and [`Error::Digest`] for damaged or foreign parts;
/// [`Error::Interrupted`].
pub fn unbundle<P: PartSource, I: ImageSink>(
    source: P,
    expected: &Expected,
    key: &BundleKey,
    sink: I,
    settings: &Settings<'_>,
) -> Result<I::Finished, Error>
where
    P::Error: Into<Error>,
    I::Error: Into<Error>,
{
    let (_, sink) = run(source, expected, key, sink, settings)?;
    sink.finish().map_err(Into::into)
}

/// Checks everything that [`unbundle`] checks without writing anything, and returns the image's name.
///
/// # Errors
/// As [`unbundle`], except the sink's.
pub fn verify_stream<P: PartSource>(
    source: P,
    expected: &Expected,
    key: &BundleKey,
    settings: &Settings<'_>,
) -> Result<String, Error>
where
    P::Error: Into<Error>,
{
    let (member, Nowhere) = run(source, expected, key, Nowhere, settings)?;
    Ok(member.name)
}

pub(crate) fn run<P: PartSource, I: ImageSink>(
    source: P,
    expected: &Expected,
    key: &BundleKey,
    sink: I,
    settings: &Settings<'_>,
) -> Result<(Member, I), Error>
where
    P::Error: Into<Error>,
    I::Error: Into<Error>,
{
    let mut source = Decrypt::new(source, key, settings.progress)?;
    let guesses = Guesses::default();
    let buffers = Buffers::default();
    let mut join = Gunzip::new(&guesses, &buffers);
    let mut untar = Untar {
        reader: TarReader::new(Bounded {
            expected: *expected,
            sink,
        }),
        digest: Sha1::new(),
        length: 0,
    };
    schedule::run(
        &Pool::new(settings.threads),
        settings.interrupted,
        &mut source,
        || InflateAlone::new(&guesses, &buffers),
        &mut join,
        &mut untar,
    )?;
    let (member, Bounded { sink, .. }) = untar.reader.finish()?;
    let found: [u8; 20] = untar.digest.finalize().into();
    if found != expected.digest {
        return Err(Error::Digest {
            found: hex::encode(found),
            expected: hex::encode(expected.digest),
        });
    }
    // Some bundlers write the tar stream's size in place of the image's.
    if let Some(expected) = expected.size
        && expected != member.size
        && expected != untar.length
    {
        return Err(StreamError::Size {
            found: member.size,
            expected,
        }
        .into());
    }
    Ok((member, sink))
}

/// Refuses an image with more data than the manifest allows, before passing anything on.
struct Bounded<I> {
    expected: Expected,
    sink: I,
}

impl<I: ImageSink> Receiver for Bounded<I>
where
    I::Error: Into<Error>,
{
    fn begin(&mut self, member: &Member) -> Result<(), Error> {
        // Whether this is the image's size or, as some bundlers write, the tar stream's: there cannot be more data.
        if member.stored > self.expected.most() {
            let found = member.stored;
            return Err(match self.expected.size {
                Some(expected) => StreamError::Size { found, expected }.into(),
                None => StreamError::TarField("size").into(),
            });
        }
        let description = Description {
            name: member.name.clone(),
            size: member.size,
            mode: member.mode,
            mtime: member.mtime,
        };
        self.sink.begin(&description).map_err(Into::into)
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write(offset, bytes).map_err(Into::into)
    }
}

/// Reads, checks and decrypts the parts, and cuts the stream where chunks may end.
struct Decrypt<'a, P> {
    parts: P,
    progress: &'a (dyn Fn(u64) + Sync),
    /// `None` when the stream has ended.
    cipher: Option<StreamCipher>,
    read_buffer: Vec<u8>,
    cutter: Cutter,
}

impl<'a, P: PartSource> Decrypt<'a, P>
where
    P::Error: Into<Error>,
{
    fn new(parts: P, key: &BundleKey, progress: &'a (dyn Fn(u64) + Sync)) -> Result<Self, Error> {
        Ok(Self {
            parts,
            progress,
            cipher: Some(StreamCipher::decrypt(key)?),
            read_buffer: vec![0; STEP],
            cutter: Cutter::default(),
        })
    }

    /// Decrypts some more; returns false at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        let Some(cipher) = &mut self.cipher else {
            return Ok(false);
        };
        let read = self.parts.read(&mut self.read_buffer);
        let count = read.map_err(Into::into)?;
        (self.progress)(count as u64);
        let pending = self.cutter.pending();
        if count > 0 {
            cipher.update(&self.read_buffer[..count], pending)?;
        } else if let Some(cipher) = self.cipher.take() {
            cipher.finish(pending)?;
        }
        Ok(true)
    }
}

impl<P: PartSource> Source for Decrypt<'_, P>
where
    P::Error: Into<Error>,
{
    type Item = Piece;

    fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.cutter.cut() {
                return Ok(Some(piece));
            }
            if !self.fill()? {
                return Ok(self.cutter.rest());
            }
        }
    }
}

struct Untar<I> {
    reader: TarReader<Bounded<I>>,
    digest: Sha1,
    /// Bytes so far.
    length: u64,
}

impl<I: ImageSink> Sink for Untar<I>
where
    I::Error: Into<Error>,
{
    type In = Buffer;

    fn take(&mut self, piece: Buffer) -> Result<(), Error> {
        self.digest.update(piece.as_slice());
        self.length += piece.len() as u64;
        self.reader.push(&piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(expected: Expected, stored: u64) -> Result<(), Error> {
        let mut receiver = Bounded {
            expected,
            sink: Nowhere,
        };
        receiver.begin(&Member {
            name: "a".into(),
            size: stored,
            stored,
            mode: 0o644,
            mtime: 0,
        })
    }

    #[test]
    fn finding_25g_without_a_size_the_parts_limit_what_is_written() {
        let without = Expected {
            digest: [0; 20],
            size: None,
            bundled_size: 1000,
        };
        begin(without, 1_032_000).unwrap();
        let error = begin(without, 1_032_001).unwrap_err();
        assert!(matches!(
            error,
            Error::Stream(StreamError::TarField("size"))
        ));
    }

    #[test]
    fn more_data_than_the_manifest_says_is_refused_before_anything_is_written() {
        let expected = Expected {
            digest: [0; 20],
            size: Some(5),
            bundled_size: 0,
        };
        begin(expected, 5).unwrap();
        let error = begin(expected, u64::MAX).unwrap_err();
        assert!(matches!(
            error,
            Error::Stream(StreamError::Size {
                found: u64::MAX,
                expected: 5
            })
        ));
    }
}
