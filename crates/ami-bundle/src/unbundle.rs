//! From parts back to the image.

use std::path::PathBuf;

use ami_manifest::BundleKey;
use ami_parts::{PartFile, PartReader, Staging};
use sha1::{Digest, Sha1};

use crate::cipher::StreamCipher;
use crate::cutter::{Cutter, Piece};
use crate::error::{Error, StreamError};
use crate::gunzip::{Guesses, Gunzip, InflateAlone};
use crate::naming::Naming;
use crate::output::ImageOutput;
use crate::schedule::{self, Sink, Source};
use crate::settings::Settings;
use crate::tar::read::{Member, TarReader};

/// How much is read and decrypted at a time, in bytes.
const STEP: usize = 512 * 1024;

/// What the manifest says of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// SHA-1 of the tar stream.
    pub digest: [u8; 20],
    /// The image's size in bytes; `None` if the manifest does not say it.
    pub size: Option<u64>,
    /// The sum of the parts' sizes in bytes, as they are: it limits the image where its size is not known.
    pub bundled_size: u64,
}

/// How many times as large as its deflate stream data can be: 258 bytes from two bits (RFC 1951, 3.2.5).
const MOST_INFLATED: u64 = 1032;

impl Expected {
    /// The most data in bytes that can be in the image.
    pub(crate) fn most(&self) -> u64 {
        self.size
            .unwrap_or(self.bundled_size.saturating_mul(MOST_INFLATED))
    }
}

/// Unbundles parts, given in order, into the destination of `staging` and gives the image's path.
///
/// The image gets its name, which is that of the tar stream's member, only when everything has been checked: every part's SHA-1,
/// gzip's CRC-32 and length, the tar stream's SHA-1, the image's size. Whoever made the bundle chose that name: `naming` says what it
/// may replace. The parts count as sources too.
///
/// # Errors
/// [`Error::Hidden`], [`Error::WouldReplace`] and [`Error::Exists`] for the name; [`Error::File`] for a part or the destination; [`Error::Cipher`], [`Error::Stream`] and [`Error::Digest`] for what is in the
/// parts; [`Error::Interrupted`].
pub fn unbundle(
    parts: Vec<PartFile>,
    expected: &Expected,
    key: &BundleKey,
    staging: &Staging,
    naming: Naming,
    settings: &Settings<'_>,
) -> Result<PathBuf, Error> {
    let mut naming = naming;
    naming
        .sources
        .extend(parts.iter().map(|part| part.path.clone()));
    let output = ImageOutput::file(expected, staging, naming)?;
    let (member, output) = run(parts, expected, key, output, settings)?;
    output.publish(&member, staging)
}

/// Checks everything that [`unbundle`] checks, and writes nothing; gives the image's name.
///
/// # Errors
/// As [`unbundle`], but for the destination.
pub fn verify_stream(
    parts: Vec<PartFile>,
    expected: &Expected,
    key: &BundleKey,
    settings: &Settings<'_>,
) -> Result<String, Error> {
    let output = ImageOutput::nowhere(expected);
    let (member, _) = run(parts, expected, key, output, settings)?;
    Ok(member.name)
}

fn run(
    parts: Vec<PartFile>,
    expected: &Expected,
    key: &BundleKey,
    output: ImageOutput,
    settings: &Settings<'_>,
) -> Result<(Member, ImageOutput), Error> {
    let mut source = Decrypt::new(parts, key, settings.progress)?;
    let guesses = Guesses::default();
    let mut join = Gunzip::new(&guesses);
    let mut sink = Untar {
        reader: TarReader::new(output),
        digest: Sha1::new(),
        length: 0,
    };
    schedule::run(
        settings.threads.get(),
        settings.interrupted,
        &mut source,
        || InflateAlone::new(&guesses),
        &mut join,
        &mut sink,
    )?;
    let (member, output) = sink.reader.finish()?;
    let found: [u8; 20] = sink.digest.finalize().into();
    if found != expected.digest {
        return Err(Error::Digest {
            found: hex::encode(found),
            expected: hex::encode(expected.digest),
        });
    }
    // Some bundlers write the tar stream's size where the image's belongs.
    if let Some(expected) = expected.size
        && expected != member.size
        && expected != sink.length
    {
        return Err(StreamError::Size {
            found: member.size,
            expected,
        }
        .into());
    }
    Ok((member, output))
}

/// Reads, checks and decrypts the parts and cuts the stream where chunks may end.
struct Decrypt<'a> {
    reader: PartReader,
    progress: &'a (dyn Fn(u64) + Sync),
    /// `None` when the stream has ended.
    cipher: Option<StreamCipher>,
    read_buffer: Vec<u8>,
    cutter: Cutter,
}

impl<'a> Decrypt<'a> {
    fn new(
        parts: Vec<PartFile>,
        key: &BundleKey,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        Ok(Self {
            reader: PartReader::new(parts),
            progress,
            cipher: Some(StreamCipher::decrypt(key)?),
            read_buffer: vec![0; STEP],
            cutter: Cutter::default(),
        })
    }

    /// Decrypts some more; false at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        let Some(cipher) = &mut self.cipher else {
            return Ok(false);
        };
        let count = self.reader.read(&mut self.read_buffer)?;
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

impl Source for Decrypt<'_> {
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

struct Untar {
    reader: TarReader<ImageOutput>,
    digest: Sha1,
    /// Bytes so far.
    length: u64,
}

impl Sink for Untar {
    type In = Vec<u8>;

    fn take(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        self.digest.update(&piece);
        self.length += piece.len() as u64;
        self.reader.push(&piece)
    }
}
