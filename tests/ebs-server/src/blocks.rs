//! A snapshot's data: a sparse file, the SHA-256 of each block that was written, and what the others read as.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The bytes of a block.
pub const BLOCK: usize = 524_288;

/// The blocks of a GiB.
pub(crate) const BLOCKS_OF_GIB: u64 = (1 << 30) / BLOCK as u64;

pub(crate) type Digest = [u8; 32];

static ZEROS: LazyLock<Digest> = LazyLock::new(|| Sha256::digest(vec![0; BLOCK]).into());

/// What blocks read as that were never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Zeros: a volume that is not encrypted.
    Zeros,
    /// Noise, the same for each reading: what the cipher of an encrypted volume makes of nothing.
    Noise,
}

/// The blocks that one snapshot has, over those of its parent.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    written: Mutex<BTreeMap<u32, Digest>>,
    parent: Option<Arc<Blocks>>,
}

impl Blocks {
    /// None yet, in a new file of a folder, which has no name there.
    pub(crate) fn create(folder: &Path, parent: Option<Arc<Blocks>>) -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(folder)?,
            written: Mutex::default(),
            parent,
        })
    }

    /// Stores a block that comes in pieces. A block of zeros that was never anything else stays a hole.
    pub(crate) fn put(&self, index: u32, pieces: &[Bytes], digest: Digest) -> io::Result<()> {
        let is_new = !self.written.lock().contains_key(&index);
        if !is_new || digest != *ZEROS {
            let mut offset = place(index);
            for piece in pieces {
                self.file.write_all_at(piece, offset)?;
                offset += piece.len() as u64;
            }
        }
        let _ = self.written.lock().insert(index, digest);
        Ok(())
    }

    /// A block and its SHA-256, if it was written, here or in a parent.
    pub(crate) fn get(&self, index: u32) -> io::Result<Option<(Vec<u8>, Digest)>> {
        let written = self.written.lock().get(&index).copied();
        match (written, &self.parent) {
            (Some(digest), _) => {
                let mut block = vec![0; BLOCK];
                let mut from = 0;
                // A hole at the end of the file is not in it.
                while from < BLOCK {
                    match self
                        .file
                        .read_at(&mut block[from..], place(index) + from as u64)?
                    {
                        0 => break,
                        length => from += length,
                    }
                }
                Ok(Some((block, digest)))
            }
            (None, Some(parent)) => parent.get(index),
            (None, None) => Ok(None),
        }
    }

    /// How many blocks this snapshot has without its parent's.
    pub(crate) fn own_count(&self) -> usize {
        self.written.lock().len()
    }

    /// The aggregated SHA-256 of this snapshot's own blocks, by the method LINEAR.
    pub(crate) fn linear_digest(&self) -> Digest {
        let written = self.written.lock();
        let digest = written
            .values()
            .fold(Sha256::new(), |digest, block| digest.chain_update(block));
        digest.finalize().into()
    }

    /// All blocks that were written, with their digests.
    pub(crate) fn all(&self) -> BTreeMap<u32, Digest> {
        let mut all = self.parent.as_ref().map_or_else(BTreeMap::new, |p| p.all());
        all.extend(
            self.written
                .lock()
                .iter()
                .map(|(index, digest)| (*index, *digest)),
        );
        all
    }

    /// Writes the volume as a new file; holes where blocks are zeros.
    pub(crate) fn export(
        &self,
        gib: u64,
        to: &Path,
        reading: Reading,
        seed: u64,
    ) -> io::Result<()> {
        let target = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(to)?;
        target.set_len(gib << 30)?;
        let all = self.all();
        for index in 0..u32::try_from(gib * BLOCKS_OF_GIB).map_err(io::Error::other)? {
            match (all.get(&index), reading) {
                (Some(digest), _) if *digest == *ZEROS => {}
                (Some(_), _) => {
                    let found = self.get(index)?;
                    let (block, _) = found.ok_or(io::ErrorKind::NotFound)?;
                    target.write_all_at(&block, place(index))?;
                }
                (None, Reading::Noise) => {
                    target.write_all_at(&noise(seed, index), place(index))?;
                }
                (None, Reading::Zeros) => {}
            }
        }
        (&target).flush()
    }
}

/// Where a block begins in the volume.
fn place(index: u32) -> u64 {
    u64::from(index) * BLOCK as u64
}

/// What a block that was never written reads as in an encrypted volume.
pub(crate) fn noise(seed: u64, index: u32) -> Vec<u8> {
    let seed = seed.rotate_left(32) ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut block = vec![0; BLOCK];
    fastrand::Rng::with_seed(seed).fill(&mut block);
    block
}
