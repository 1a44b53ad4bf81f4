//! A certificate from the zip: its description and its PEM form.

use ami_manifest::CertificateInfo;
use data_encoding::BASE64;
use x509_parser::pem::Pem;

use crate::fingerprint::Fingerprint;

/// Characters in a line of PEM (RFC 7468, 2).
const LINE: usize = 64;

/// A certificate with an RSA key, which is what a bundle can be encrypted for.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    info: CertificateInfo,
}

impl Certificate {
    /// The first certificate in a PEM text, which may contain other things too; `None` if there is none, or if it has no RSA key.
    pub fn first(text: &[u8]) -> Option<Self> {
        let mut blocks = Pem::iter_from_buffer(text).flatten();
        let der = blocks
            .find(|block| block.label == "CERTIFICATE")
            .map(|block| block.contents)?;
        let info = CertificateInfo::of_der(&der)?;
        Some(Self { der, info })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The certificate in PEM, without anything else.
    pub fn pem(&self) -> String {
        let base64 = BASE64.encode(&self.der);
        let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for (index, letter) in base64.chars().enumerate() {
            if index > 0 && index % LINE == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
        text
    }

    /// Lines that describe it to the user.
    pub fn lines(&self) -> [String; 4] {
        [
            format!("subject={}", self.info.subject().unwrap_or_default()),
            format!("notBefore={}", self.info.valid_from()),
            format!("notAfter={}", self.info.valid_until()),
            format!("sha256={}", self.fingerprint()),
        ]
    }
}
