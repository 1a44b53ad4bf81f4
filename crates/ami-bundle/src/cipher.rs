//! AES-128-CBC with PKCS#7 padding over a whole stream.

use ami_manifest::BundleKey;
use openssl::error::ErrorStack;
use openssl::symm::{Cipher, Crypter, Mode};

use crate::error::Error;

/// AES's block size in bytes (FIPS 197).
pub(crate) const BLOCK: usize = 16;

/// Encrypts or decrypts a stream piece by piece. OpenSSL wipes the key schedule when this is dropped.
pub(crate) struct StreamCipher(Crypter);

impl StreamCipher {
    pub(crate) fn encrypt(key: &BundleKey) -> Result<Self, Error> {
        Self::new(Mode::Encrypt, key)
    }

    pub(crate) fn decrypt(key: &BundleKey) -> Result<Self, Error> {
        Self::new(Mode::Decrypt, key)
    }

    fn new(mode: Mode, key: &BundleKey) -> Result<Self, Error> {
        Crypter::new(Cipher::aes_128_cbc(), mode, key.key(), Some(key.iv()))
            .map(Self)
            .map_err(refused)
    }

    /// Appends to `output` the blocks that `input` completes.
    pub(crate) fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), Error> {
        let start = output.len();
        output.resize(start + input.len() + BLOCK, 0);
        let count = self
            .0
            .update(input, &mut output[start..])
            .map_err(refused)?;
        output.truncate(start + count);
        Ok(())
    }

    /// Appends the rest to `output`: the padded block when encrypting, the last block without its padding when decrypting.
    ///
    /// # Errors
    /// When decrypting: the stream's length or padding is wrong.
    pub(crate) fn finish(mut self, output: &mut Vec<u8>) -> Result<(), Error> {
        let start = output.len();
        output.resize(start + BLOCK, 0);
        let count = self.0.finalize(&mut output[start..]).map_err(|_| Error::Cipher {
            reason: "the end of the stream cannot be decrypted: a part is damaged or missing, or the key is another bundle's"
                .to_owned(),
        })?;
        output.truncate(start + count);
        Ok(())
    }
}

fn refused(error: ErrorStack) -> Error {
    Error::Cipher {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    /// NIST SP 800-38A, F.2.1: CBC-AES128.Encrypt.
    const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
    const IV: &str = "000102030405060708090a0b0c0d0e0f";
    const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
    const CRYPTED: &str = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2";

    fn key() -> BundleKey {
        BundleKey::from_bytes(
            bytes(KEY).try_into().unwrap(),
            bytes(IV).try_into().unwrap(),
        )
    }

    #[test]
    fn the_known_answer_is_produced_in_steps_of_any_size_and_decrypts() {
        for step in [1, 15, 16, 17, 32] {
            let mut cipher = StreamCipher::encrypt(&key()).unwrap();
            let mut crypted = Vec::new();
            for piece in bytes(PLAIN).chunks(step) {
                cipher.update(piece, &mut crypted).unwrap();
            }
            cipher.finish(&mut crypted).unwrap();
            assert_eq!(crypted[..32], bytes(CRYPTED));
            assert_eq!(crypted.len(), 48, "a whole block of padding");

            let mut cipher = StreamCipher::decrypt(&key()).unwrap();
            let mut plain = Vec::new();
            for piece in crypted.chunks(step) {
                cipher.update(piece, &mut plain).unwrap();
            }
            cipher.finish(&mut plain).unwrap();
            assert_eq!(plain, bytes(PLAIN));
        }
    }

    #[test]
    fn a_stream_cut_short_does_not_decrypt() {
        for length in [0, 16, 31, 32] {
            let mut cipher = StreamCipher::decrypt(&key()).unwrap();
            let mut plain = Vec::new();
            cipher
                .update(&bytes(CRYPTED)[..length], &mut plain)
                .unwrap();
            assert!(cipher.finish(&mut plain).is_err(), "{length}");
        }
    }
}
