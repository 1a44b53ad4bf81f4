//! X.509 certificates: the user's and EC2's.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::Verifier;
use openssl::x509::X509;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::error::{Error, KeyProblem};
use crate::keys::{PrivateKey, failed_to, read};

/// The most characters of a subject that are kept, because a certificate can contain any text.
const LONGEST_SUBJECT: usize = 200;

/// An X.509 certificate with an RSA key. An expired one is never an error: EC2's own has expired.
pub struct Certificate {
    key: Rsa<Public>,
    info: Option<CertificateInfo>,
}

impl Certificate {
    /// Reads a certificate in PEM or DER. The file may contain other things too.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Certificate`] if it is not a certificate with an RSA key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = read(path, |problem| Error::Certificate {
            path: path.to_owned(),
            problem,
        })?;
        Self::parse(&bytes).map_err(|problem| Error::Certificate {
            path: path.to_owned(),
            problem,
        })
    }

    /// Reads a certificate from a file's contents.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyProblem> {
        if bytes.is_empty() {
            return Err(KeyProblem::Empty);
        }
        match X509::from_pem(bytes).or_else(|_| X509::from_der(bytes)) {
            Ok(certificate) => match certificate.public_key().and_then(|key| key.rsa()) {
                Ok(key) => Ok(Self {
                    key,
                    info: certificate
                        .to_der()
                        .ok()
                        .and_then(|der| CertificateInfo::of_der(&der)),
                }),
                Err(_) => Err(KeyProblem::NotRsa),
            },
            Err(_) => Err(match PrivateKey::parse(bytes) {
                Ok(_) | Err(KeyProblem::Locked | KeyProblem::NotRsa) => KeyProblem::IsPrivateKey,
                Err(_) => KeyProblem::NotACertificate,
            }),
        }
    }

    /// The certificate's description. `None` if it cannot be parsed, although OpenSSL accepts its key.
    pub fn info(&self) -> Option<&CertificateInfo> {
        self.info.as_ref()
    }

    /// Its subject, if it has one that can be parsed.
    pub fn subject(&self) -> Option<&str> {
        self.info().and_then(CertificateInfo::subject)
    }

    /// Whether the certificate belongs to `key`.
    pub fn belongs_to(&self, key: &PrivateKey) -> bool {
        key.as_rsa()
            .is_some_and(|rsa| rsa.n() == self.key.n() && rsa.e() == self.key.e())
    }

    /// Encrypts with PKCS#1 v1.5.
    pub(crate) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut cryptogram = vec![0; self.key.size() as usize];
        let length = self
            .key
            .public_encrypt(plain, &mut cryptogram, Padding::PKCS1)
            .map_err(failed_to("encrypt the bundle's key"))?;
        cryptogram.truncate(length);
        Ok(cryptogram)
    }

    /// Whether this is the certificate owner's signature of these bytes.
    pub(crate) fn verifies(&self, signature: &[u8], bytes: &[u8]) -> Result<bool, Error> {
        let key = PKey::from_rsa(self.key.clone()).map_err(failed_to("use the certificate"))?;
        let mut verifier =
            Verifier::new(MessageDigest::sha1(), &key).map_err(failed_to("check the signature"))?;
        // For OpenSSL, a signature of another length is an error; here it is an invalid signature.
        Ok(verifier.verify_oneshot(signature, bytes).unwrap_or(false))
    }
}

/// The description of a certificate.
///
/// This is only shown to users; OpenSSL does the cryptography. It is as trustworthy as the maker of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    subject: Option<String>,
    valid_from: ASN1Time,
    valid_until: ASN1Time,
    key_bits: u64,
}

/// Whether a certificate is valid at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is not valid yet.
    NotYet,
    /// It is valid.
    Valid,
    /// It has expired.
    Expired,
}

impl CertificateInfo {
    /// Reads a certificate in DER form. `None`: this is none, or it has no RSA key.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
            return None;
        };
        let zeros = key.modulus.iter().take_while(|&&byte| byte == 0).count();
        let modulus = &key.modulus[zeros..];
        let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
        let validity = certificate.validity();
        Some(Self {
            subject: subject(&certificate),
            valid_from: validity.not_before,
            valid_until: validity.not_after,
            key_bits: modulus.len() as u64 * 8 - u64::from(unused),
        })
    }

    /// Its subject, such as `O=Example, CN=web`. It can contain any characters. `None` if it is empty or not text.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The size of its RSA key in bits.
    pub fn key_bits(&self) -> u64 {
        self.key_bits
    }

    /// The first second in which it is valid, as OpenSSL shows it: `Nov 19 12:00:00 2026 GMT`.
    pub fn valid_from(&self) -> String {
        shown(self.valid_from)
    }

    /// The last second in which it is valid, as OpenSSL shows it.
    pub fn valid_until(&self) -> String {
        shown(self.valid_until)
    }

    /// Whether it is valid at this time (RFC 5280, 4.1.2.5: both ends are included).
    pub fn validity_at(&self, now: SystemTime) -> Validity {
        let now = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            // No certificate is valid before 1970.
            Err(_) => i64::MIN,
        };
        if now < self.valid_from.timestamp() {
            Validity::NotYet
        } else if now > self.valid_until.timestamp() {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }
}

/// `"O=Example, CN=web", 2048 bits, valid until Nov 19 12:00:00 2036 GMT`; control characters are escaped.
impl fmt::Display for CertificateInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.subject {
            write!(f, "{subject:?}, ")?;
        }
        let until = self.valid_until();
        write!(f, "{} bits, valid until {until}", self.key_bits)
    }
}

fn subject(certificate: &X509Certificate<'_>) -> Option<String> {
    let registry = x509_parser::objects::oid_registry();
    let subject = certificate.subject().to_string_with_registry(registry);
    let subject = subject.ok().filter(|subject| !subject.is_empty())?;
    Some(match subject.char_indices().nth(LONGEST_SUBJECT) {
        Some((end, _)) => format!("{}…", &subject[..end]),
        None => subject,
    })
}

/// In OpenSSL's form of dates (ASN1_TIME_print(3)).
fn shown(time: ASN1Time) -> String {
    // The library appends the offset, which is always zero.
    let text = time.to_string();
    let text = text.strip_suffix(" +00:00").unwrap_or(&text);
    format!("{text} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewIdentity;
    use openssl::asn1::Asn1Time;
    use openssl::nid::Nid;
    use openssl::x509::X509NameBuilder;
    use proptest::prelude::*;
    use std::time::Duration;

    /// 2001-09-09 01:46:40 UTC.
    const BEGIN: u64 = 1_000_000_000;

    /// A certificate with 512 bits and these names that is valid for a minute.
    fn certificate(names: &[(Nid, &str)]) -> Vec<u8> {
        let key = PKey::from_rsa(Rsa::generate(512).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        for (nid, text) in names {
            name.append_entry_by_nid(*nid, text).unwrap();
        }
        let mut builder = X509::builder().unwrap();
        let time = |seconds: u64| Asn1Time::from_unix(seconds.cast_signed()).unwrap();
        builder.set_subject_name(&name.build()).unwrap();
        builder.set_not_before(&time(BEGIN)).unwrap();
        builder.set_not_after(&time(BEGIN + 60)).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    fn info(names: &[(Nid, &str)]) -> CertificateInfo {
        let certificate = Certificate::parse(&certificate(names)).unwrap();
        certificate.info().unwrap().clone()
    }

    #[test]
    fn a_certificate_says_whose_it_is_and_how_long() {
        let info = info(&[(Nid::ORGANIZATIONNAME, "Example"), (Nid::COMMONNAME, "wéb")]);
        assert_eq!(info.subject(), Some("O=Example, CN=wéb"));
        assert_eq!(info.key_bits(), 512);
        assert_eq!(info.valid_from(), "Sep  9 01:46:40 2001 GMT");
        assert_eq!(info.valid_until(), "Sep  9 01:47:40 2001 GMT");
        assert_eq!(
            info.to_string(),
            "\"O=Example, CN=wéb\", 512 bits, valid until Sep  9 01:47:40 2001 GMT"
        );
        for (second, expected) in [
            (BEGIN - 1, Validity::NotYet),
            (BEGIN, Validity::Valid),
            (BEGIN + 60, Validity::Valid),
            (BEGIN + 61, Validity::Expired),
        ] {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            assert_eq!(info.validity_at(now), expected, "{second}");
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(info.validity_at(before), Validity::NotYet);
    }

    #[test]
    fn a_hostile_subject_is_shown_as_text_and_short() {
        let hostile = info(&[(Nid::COMMONNAME, "a\", 1 bit\u{1b}[2J\n\u{202e}")]);
        let shown = hostile.to_string();
        assert!(
            shown.starts_with("\"CN=a\\\", 1 bit\\u{1b}[2J\\n\\u{202e}\", 512 bits, "),
            "{shown}"
        );
        let long: Vec<(Nid, String)> = (0..20).map(|_| (Nid::COMMONNAME, "ä".repeat(60))).collect();
        let long: Vec<(Nid, &str)> = long.iter().map(|(nid, text)| (*nid, &**text)).collect();
        let long = info(&long);
        let subject = long.subject().unwrap();
        assert_eq!(subject.chars().count(), LONGEST_SUBJECT + 1);
        assert!(subject.ends_with('…'));
        let none = info(&[]);
        assert_eq!(none.subject(), None);
        assert!(none.to_string().starts_with("512 bits, valid until "));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] =
            ["one", "other"].map(|name| NewIdentity::generate(2048, 1, name).unwrap());
        let certificate = Certificate::parse(&one.certificate).unwrap();
        let [own, wrong] = ["own", "wrong"].map(|name| folder.path().join(name));
        std::fs::write(&own, &one.private_key).unwrap();
        std::fs::write(&wrong, &other.private_key).unwrap();
        let load = |path| PrivateKey::load_of(&certificate, "c.pem".as_ref(), path);
        assert!(load(&own).is_ok());
        assert_eq!(
            load(&wrong).err().unwrap().to_string(),
            format!(
                "the certificate c.pem (\"CN=one\") is not that of the private key {}: EC2 would refuse the bundle",
                wrong.display()
            )
        );
    }

    #[test]
    fn what_openssl_takes_is_not_refused() {
        // An invalid year, which OpenSSL notices only when it checks the validity.
        let der = certificate(&[(Nid::COMMONNAME, "x")]);
        let at = der.windows(13).position(|w| w == b"010909014640Z").unwrap();
        let mut damaged = der.clone();
        damaged[at + 2..at + 4].copy_from_slice(b"99");
        let certificate = Certificate::parse(&damaged).unwrap();
        assert_eq!(certificate.info(), None);
    }

    proptest! {
        /// Whatever OpenSSL accepts must not make the other parser panic.
        #[test]
        fn damaged_certificates_do_no_harm(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            static DER: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| certificate(&[(Nid::COMMONNAME, "x")]));
            let mut der = DER.clone();
            for (index, byte) in changes {
                let index = index.index(der.len());
                der[index] = byte;
            }
            let _ = CertificateInfo::of_der(&der).map(|info| info.to_string());
            let _ = Certificate::parse(&der).is_ok();
        }
    }
}
