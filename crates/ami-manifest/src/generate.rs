//! Making a private key and its certificate.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectKeyIdentifier};
use openssl::x509::{X509, X509NameBuilder};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::keys::failed_to;

/// X.509 version 3 (RFC 5280, 4.1.2.1); versions are counted from 0.
const VERSION_3: i32 = 2;

/// Bits of a serial number: at most 20 octets, and positive (RFC 5280, 4.1.2.2).
const SERIAL_BITS: i32 = 159;

/// A new private key and a certificate for it.
pub struct NewIdentity {
    /// PEM, PKCS#8, without a passphrase. Wiped when dropped.
    pub private_key: Zeroizing<Vec<u8>>,
    /// PEM, signed by the key itself with SHA-256.
    pub certificate: Vec<u8>,
    /// SHA-256 of the certificate's DER form, in hex.
    pub fingerprint: String,
    /// Until when the certificate is valid, as in `Nov 19 12:00:00 2036 GMT`.
    pub not_after: String,
}

impl NewIdentity {
    /// Makes an RSA key of this many bits, and a certificate that is valid for `days` days from now.
    ///
    /// # Errors
    /// [`Error::OpenSsl`], also for a name of more than 64 bytes (RFC 5280, `ub-common-name`).
    pub fn generate(bits: u32, days: u32, common_name: &str) -> Result<Self, Error> {
        generate(bits, days, common_name).map_err(failed_to("make a key and certificate"))
    }
}

fn generate(bits: u32, days: u32, common_name: &str) -> Result<NewIdentity, ErrorStack> {
    let key = PKey::from_rsa(Rsa::generate(bits)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(VERSION_3)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(days)?.as_ref())?;
    builder.set_pubkey(&key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let certificate = builder.build();
    Ok(NewIdentity {
        private_key: Zeroizing::new(key.private_key_to_pem_pkcs8()?),
        fingerprint: hex::encode(certificate.digest(MessageDigest::sha256())?),
        not_after: certificate.not_after().to_string(),
        certificate: certificate.to_pem()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleKey, Certificate, PrivateKey};

    #[test]
    fn key_and_certificate_belong_together() {
        let new = NewIdentity::generate(2048, 30, "bundler of tests").unwrap();
        let key = PrivateKey::parse(&new.private_key).unwrap();
        let certificate = Certificate::parse(&new.certificate).unwrap();
        assert!(certificate.belongs_to(&key));
        let bundle_key = BundleKey::from_bytes([1; 16], [2; 16]);
        let wrapped = bundle_key.wrap(&certificate).unwrap();
        assert_eq!(wrapped.unwrap_with(&key).unwrap().iv(), &[2; 16]);
    }

    #[test]
    fn two_are_different() {
        let make = || NewIdentity::generate(2048, 1, "x").unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_ne!(one.private_key, other.private_key);
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(NewIdentity::generate(2048, 1, &"x".repeat(65)).is_err());
    }
}
