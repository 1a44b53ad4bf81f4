//! Block tokens and page tokens: what they are for and until when, under a digest that nobody else can make.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

/// A token for a number (a block's index, or where a page begins) of something that has a name.
pub(crate) fn make(secret: &str, name: &str, number: u32, until: SystemTime) -> String {
    let millis = until
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(millis.to_be_bytes());
    let digest = seal(secret, name, &bytes);
    bytes.extend(digest);
    BASE64.encode(&bytes)
}

/// The number of a token that is for `name` and has not ended.
pub(crate) fn read(secret: &str, name: &str, token: &str) -> Option<u32> {
    let bytes = BASE64.decode(token.as_bytes()).ok()?;
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    let (millis, digest) = rest.split_first_chunk::<8>()?;
    let until = UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(*millis));
    let is_ours = seal(secret, name, &bytes[..12]) == digest;
    (is_ours && SystemTime::now() <= until).then(|| u32::from_be_bytes(*number))
}

fn seal(secret: &str, name: &str, bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update([0])
        .chain_update(name)
        .chain_update([0])
        .chain_update(bytes)
        .finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}
