//! A certificate from the zip: its description and its PEM form.

use data_encoding::BASE64;
use x509_parser::pem::Pem;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Name};

use crate::fingerprint::Fingerprint;

/// Characters in a line of PEM (RFC 7468, 2).
const LINE: usize = 64;

/// A valid X.509 certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    /// In the order of RFC 2253: the most specific part first.
    subject: String,
    not_before: String,
    not_after: String,
}

impl Certificate {
    /// The first certificate in a PEM text, which may contain other things too; `None` if there is none.
    pub fn first(text: &[u8]) -> Option<Self> {
        let blocks = Pem::iter_from_buffer(text).flatten();
        let der = blocks
            .filter(|block| block.label == "CERTIFICATE")
            .map(|block| block.contents)
            .next()?;
        let (rest, certificate) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let parts = certificate.subject().iter_rdn();
        let mut parts: Vec<String> = parts
            .map(|part| X509Name::new(vec![part.clone()], &[]).to_string())
            .collect();
        parts.reverse();
        let (subject, validity) = (parts.join(","), certificate.validity());
        let (not_before, not_after) = (shown(validity.not_before), shown(validity.not_after));
        Some(Self {
            der,
            subject,
            not_before,
            not_after,
        })
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
            format!("subject={}", self.subject),
            format!("notBefore={}", self.not_before),
            format!("notAfter={}", self.not_after),
            format!("sha256={}", self.fingerprint()),
        ]
    }
}

/// In OpenSSL's form of dates (ASN1_TIME_print(3)).
fn shown(time: ASN1Time) -> String {
    let text = time.to_string();
    let text = text.strip_suffix(" +00:00").unwrap_or(&text);
    format!("{text} GMT")
}
