//! Turns an image into parts: tar, gzip, AES and splitting in one pass.

use ami_manifest::BundleKey;
use ami_parts::{PART_SIZE, PartSink, PartWriter, WrittenPart};
use ami_pool::{Buffer, Buffers, Pool};
use crc32fast::Hasher as Crc32;
use sha1::{Digest, Sha1};

use crate::cipher::{BLOCK as CIPHER_BLOCK, StreamCipher};
use crate::deflate::{CHUNK, Chunk, Packed, Packer, STREAM_END};
use crate::error::Error;
use crate::gzip;
use crate::schedule::{self, Join, Sink, Source};
use crate::settings::{Level, Settings};
use crate::tar::write;
use ami_image::{Extent, Image};

/// The result of bundling.
#[derive(Debug)]
pub struct Bundled<S> {
    /// Holds the parts, which are not yet published.
    pub sink: S,
    /// The parts in order.
    pub parts: Vec<WrittenPart>,
    /// SHA-1 of the tar stream: the manifest's image digest.
    pub digest: [u8; 20],
    /// The image's size in bytes.
    pub size: u64,
}

/// Bundles `image` under `name` into parts for `sink`.
///
/// # Errors
/// [`Error::Image`]; the sink's errors; [`Error::Interrupted`].
pub fn bundle<S: PartSink>(
    image: &Image,
    name: &str,
    level: Level,
    key: &BundleKey,
    sink: S,
    settings: &Settings<'_>,
) -> Result<Bundled<S>, Error>
where
    S::Error: Into<Error>,
{
    let mut source = TarSource::new(image, name, settings.progress);
    let buffers = Buffers::default();
    let mut join = Encrypt::new(key, &buffers)?;
    let most = largest_bundle(image, name);
    let mut store = Store(PartWriter::new(sink, name, PART_SIZE, most));
    schedule::run(
        &Pool::new(settings.threads),
        settings.interrupted,
        &mut source,
        || Packer::new(level, &buffers),
        &mut join,
        &mut store,
    )?;
    image.check_unchanged()?;
    let (sink, parts) = store.0.finish().map_err(Into::into)?;
    Ok(Bundled {
        sink,
        parts,
        digest: source.digest.finalize().into(),
        size: image.size(),
    })
}

/// The most bytes that the parts of this image's bundle can take.
pub fn largest_bundle(image: &Image, name: &str) -> u64 {
    let head = write::head(image, name).len() as u64;
    let stream = head + image.data_size() + write::tail_size(head, image.data_size());
    let frame = gzip::HEADER.len() + gzip::trailer(0, 0).len() + CIPHER_BLOCK;
    Packer::bound(stream) + frame as u64
}

/// Produces the image as a tar stream in chunks, and computes the stream's SHA-1.
struct TarSource<'a> {
    image: &'a Image,
    progress: &'a (dyn Fn(u64) + Sync),
    digest: Sha1,
    buffers: Buffers,
    offset: u64,
    head: std::vec::IntoIter<u8>,
    /// The extents still to be read, the next one last.
    extents: Vec<Extent>,
    tail: u64,
}

impl<'a> TarSource<'a> {
    fn new(image: &'a Image, name: &str, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        let head = write::head(image, name);
        Self {
            image,
            progress,
            digest: Sha1::new(),
            buffers: Buffers::default(),
            offset: 0,
            tail: write::tail_size(head.len() as u64, image.data_size()),
            head: head.into_iter(),
            extents: image.extents().iter().rev().copied().collect(),
        }
    }

    fn read_extents(&mut self, chunk: &mut Vec<u8>) -> Result<(), Error> {
        while chunk.len() < CHUNK {
            let Some(mut extent) = self.extents.pop() else {
                break;
            };
            let start = chunk.len();
            let room = (CHUNK - start) as u64;
            let count = extent.length.min(room);
            chunk.resize(start + count as usize, 0);
            self.image.read(extent.offset, &mut chunk[start..])?;
            (self.progress)(count);
            extent.offset += count;
            extent.length -= count;
            if extent.length > 0 {
                self.extents.push(extent);
            }
        }
        Ok(())
    }
}

impl Source for TarSource<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Result<Option<Chunk>, Error> {
        let mut data = self.buffers.empty();
        data.reserve(CHUNK);
        data.extend(self.head.by_ref().take(CHUNK));
        self.read_extents(&mut data)?;
        if self.extents.is_empty() {
            let zeros = self.tail.min((CHUNK - data.len()) as u64);
            let size = data.len() + zeros as usize;
            data.resize(size, 0);
            self.tail -= zeros;
        }
        if data.is_empty() {
            return Ok(None);
        }
        self.digest.update(data.as_slice());
        let offset = self.offset;
        self.offset += data.len() as u64;
        Ok(Some(Chunk { offset, data }))
    }
}

/// Joins the chunks into one gzip member and encrypts it.
struct Encrypt {
    cipher: Option<StreamCipher>,
    crc: Crc32,
    length: u64,
    begun: bool,
    buffers: Buffers,
    /// Ciphertext that has not been pulled yet.
    output: Option<Buffer>,
}

impl Encrypt {
    fn new(key: &BundleKey, buffers: &Buffers) -> Result<Self, Error> {
        Ok(Self {
            cipher: Some(StreamCipher::encrypt(key)?),
            buffers: buffers.clone(),
            crc: Crc32::new(),
            length: 0,
            begun: false,
            output: None,
        })
    }

    fn encrypt(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), Error> {
        match &mut self.cipher {
            Some(cipher) => cipher.update(bytes, output),
            None => Ok(()), // finished
        }
    }

    fn begin(&mut self, output: &mut Vec<u8>) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.encrypt(&gzip::HEADER, output)
    }
}

impl Join for Encrypt {
    type In = Packed;
    type Out = Buffer;

    fn push(&mut self, chunk: Packed) -> Result<(), Error> {
        self.crc
            .combine(&Crc32::new_with_initial_len(chunk.crc, chunk.length));
        self.length += chunk.length;
        let mut output = self.buffers.empty();
        output.reserve(chunk.deflated.len() + 2 * CIPHER_BLOCK);
        self.begin(&mut output)?;
        self.encrypt(&chunk.deflated, &mut output)?;
        self.output = Some(output);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let mut output = self.buffers.empty();
        self.begin(&mut output)?;
        self.encrypt(&STREAM_END, &mut output)?;
        let trailer = gzip::trailer(self.crc.clone().finalize(), self.length);
        self.encrypt(&trailer, &mut output)?;
        if let Some(cipher) = self.cipher.take() {
            cipher.finish(&mut output)?;
        }
        self.output = Some(output);
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Buffer>, Error> {
        Ok(self.output.take())
    }
}

struct Store<S>(PartWriter<S>);

impl<S: PartSink> Sink for Store<S>
where
    S::Error: Into<Error>,
{
    type In = Buffer;

    fn take(&mut self, encrypted: Buffer) -> Result<(), Error> {
        self.0.write(&encrypted).map_err(Into::into)
    }
}
