//! Blocks: what EBS cuts a snapshot into, and their digests (EBS user guide, "EBS direct APIs").

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

/// The length of every block in bytes; EBS has no other.
pub const BLOCK_SIZE: u64 = 524_288;

/// The same, as the length of a buffer.
pub(crate) const BLOCK: usize = BLOCK_SIZE as usize;

/// How many blocks a GiB has.
const BLOCKS_OF_GIB: u64 = (1 << 30) / BLOCK_SIZE;

/// The largest volume in GiB (EBS user guide, "volume types": 64 TiB).
pub const LARGEST_VOLUME: u64 = 65_536;

/// A raw SHA-256.
pub type Digest = [u8; 32];

/// A block that is to be sent.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its index in the volume.
    pub(crate) index: u64,
    /// Its bytes.
    pub(crate) data: Bytes,
    /// Their SHA-256.
    pub(crate) digest: Digest,
    /// An earlier run may have sent it.
    pub(crate) is_again: bool,
}

/// A block of zeros, once for all of them.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; BLOCK]));

static DIGEST_OF_ZEROS: LazyLock<Digest> = LazyLock::new(|| digest(&ZEROS));

/// The number of blocks of a volume of so many GiB; `None` if there is no such volume.
pub(crate) fn blocks_of(gib: u64) -> Option<u64> {
    (1..=LARGEST_VOLUME)
        .contains(&gib)
        .then(|| gib * BLOCKS_OF_GIB)
}

/// A block of zeros.
pub(crate) fn zeros() -> Bytes {
    ZEROS.clone()
}

/// Its digest.
pub(crate) fn digest_of_zeros() -> Digest {
    *DIGEST_OF_ZEROS
}

/// Whether all bytes are zeros.
pub(crate) fn is_zeros(data: &[u8]) -> bool {
    ZEROS.starts_with(data)
}

/// The SHA-256 of some bytes.
pub(crate) fn digest(data: &[u8]) -> Digest {
    Sha256::digest(data).into()
}

/// A digest as the API has it.
pub(crate) fn base64(digest: &Digest) -> String {
    BASE64.encode(digest)
}

/// The digest that the API's text means.
pub(crate) fn from_base64(text: &str) -> Option<Digest> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_told_from_data() {
        assert!(is_zeros(&zeros()) && is_zeros(&[0; 7]));
        let mut block = vec![0; BLOCK];
        block[BLOCK - 1] = 1;
        assert!(!is_zeros(&block));
        // The length that EBS has, and `sha256sum` of it.
        let known = "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541";
        assert_eq!(hex::encode(digest_of_zeros()), known);
        assert_eq!(
            from_base64(&base64(&digest_of_zeros())),
            Some(digest_of_zeros())
        );
        assert_eq!(from_base64("AAAA"), None);
    }

    #[test]
    fn volumes_have_whole_gibs() {
        assert_eq!(blocks_of(1), Some(2048));
        assert_eq!(blocks_of(65_536), Some(134_217_728));
        assert_eq!((blocks_of(0), blocks_of(65_537)), (None, None));
    }
}
