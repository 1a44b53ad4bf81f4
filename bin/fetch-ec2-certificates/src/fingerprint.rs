//! SHA-256 fingerprints of certificates, and the known ones.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Bytes of a SHA-256 digest.
const LENGTH: usize = 32;

/// The file, and the SHA-256 fingerprint of its DER form, of the regions' certificates that were compared with what AWS publishes.
const KNOWN: [(&str, &str); 3] = [
    (
        "cert-ec2.pem",
        "F5:70:7A:ED:B5:42:51:79:8F:6B:BC:C1:A1:0A:9C:FD:1F:21:FC:69:90:9E:A1:27:63:19:AA:2F:09:8E:47:90",
    ),
    (
        "cert-ec2-gov.pem",
        "49:56:F9:66:C8:A0:E7:5D:22:B9:B2:34:42:95:94:64:46:8F:20:A6:76:01:0C:E8:23:B4:59:92:E1:22:F7:A9",
    ),
    (
        "cert-ec2-cn-north-1.pem",
        "84:80:E2:B6:0A:0E:51:3C:32:2E:04:60:1F:81:A5:FF:67:A9:CA:D5:53:89:92:5C:6C:B6:ED:6D:01:89:AA:09",
    ),
];

/// SHA-256 of a certificate's DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; LENGTH]);

impl Fingerprint {
    /// Of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Of EC2's certificate in a file of this name, if it is known.
    pub fn known(file: &str) -> Option<Self> {
        let (_, text) = KNOWN.iter().find(|(name, _)| *name == file)?;
        text.parse().ok()
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; LENGTH];
        match hex::decode_to_slice(text.replace(':', ""), &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(
                "--accept needs a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons",
            ),
        }
    }
}

/// As OpenSSL writes it: capital letters, with colons.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.map(|byte| hex::encode_upper([byte]));
        f.write_str(&pairs.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_any_spelling_and_written_in_one() {
        for (file, text) in KNOWN {
            let known = Fingerprint::known(file).unwrap();
            assert_eq!(known.to_string(), text);
            assert_eq!(text.replace(':', "").to_lowercase().parse(), Ok(known));
        }
        assert_eq!(Fingerprint::known("cert-ec2-me-south-1.pem"), None);
        for text in ["", "00", &"00".repeat(33), &"zz".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
        // An example of FIPS 180-4.
        assert_eq!(
            hex::encode(Fingerprint::of(b"abc").0),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
