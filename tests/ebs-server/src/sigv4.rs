//! Signature version 4, as in AWS's guide "Create a signed AWS API request": in the header Authorization only.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::dates;

/// How far a request's time may be from ours.
const LONGEST_SKEW: Duration = Duration::from_secs(15 * 60);

/// RFC 3986's unreserved characters stay.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The payload of a request whose body is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No signature.
    Missing,
    /// A signature without something that it needs.
    Incomplete(&'static str),
    /// For another service, or a region that there is not.
    Scope(&'static str),
    /// No such key, or a session token that is not its own.
    UnknownKey,
    /// The session is over.
    ExpiredToken,
    /// Its time is not ours.
    Expired,
    /// Another signature than the right one, or another body than the signed one.
    WrongSignature,
}

/// What the header Authorization says.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
    date: String,
    time: String,
    signed: Vec<String>,
    signature: String,
}

impl Signature {
    /// Reads the header, and compares the time with ours.
    pub(crate) fn read(parts: &Parts) -> Result<Self, Refusal> {
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let text = header("authorization").ok_or(Refusal::Missing)?;
        let rest = text
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .ok_or(Refusal::Incomplete("the algorithm AWS4-HMAC-SHA256"))?;
        let field = |name: &'static str| {
            let fields = rest.split(',').map(str::trim);
            let mut values = fields.filter_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            values.next().ok_or(Refusal::Incomplete(name))
        };
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = scope[..] else {
            return Err(Refusal::Incomplete("Credential"));
        };
        let time = header("x-amz-date").ok_or(Refusal::Incomplete("X-Amz-Date"))?;
        let at = dates::parse_basic(time).ok_or(Refusal::Incomplete("X-Amz-Date"))?;
        let now = SystemTime::now();
        let skew = now.duration_since(at).or_else(|_| at.duration_since(now));
        if skew.is_ok_and(|skew| skew > LONGEST_SKEW) || !time.starts_with(date) {
            return Err(Refusal::Expired);
        }
        let signed: Vec<String> = field("SignedHeaders")?
            .split(';')
            .map(str::to_owned)
            .collect();
        let is_signed = |name: &str| signed.iter().any(|header| header == name);
        let amz = parts.headers.keys().map(|name| name.as_str());
        let unsigned = amz.filter(|name| name.starts_with("x-amz-") && !is_signed(name));
        // AWS signs all of these; a header that is not signed could be changed on the way.
        if !is_signed("host") || unsigned.count() > 0 {
            return Err(Refusal::Incomplete(
                "SignedHeaders with host and each x-amz-*",
            ));
        }
        Ok(Self {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            date: date.to_owned(),
            time: time.to_owned(),
            signed,
            signature: field("Signature")?.to_owned(),
        })
    }

    /// Compares the signature with the right one. `digest` is the SHA-256 of the body; `may_be_unsigned` says whether the service lets the
    /// body of this request go unsigned.
    pub(crate) fn verify(
        &self,
        parts: &Parts,
        digest: &[u8],
        may_be_unsigned: bool,
        secret: &str,
    ) -> Result<(), Refusal> {
        let digest = hex::encode(digest);
        let said = parts.headers.get("x-amz-content-sha256");
        let payloads = match said.map(|value| value.to_str().unwrap_or_default()) {
            Some(UNSIGNED) if may_be_unsigned => vec![UNSIGNED],
            Some(said) if said == digest => vec![said],
            Some(_) => Vec::new(),
            // botocore signs the digest over HTTP and leaves it out over HTTPS, and names neither.
            None if may_be_unsigned => vec![digest.as_str(), UNSIGNED],
            None => vec![digest.as_str()],
        };
        let key = [&self.date, &self.region, &self.service]
            .into_iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, text| {
                hmac(&key, text.as_bytes())
            });
        let key = hmac(&key, b"aws4_request");
        let right = payloads.into_iter().any(|payload| {
            let request = self.canonical(parts, payload);
            let text = format!(
                "AWS4-HMAC-SHA256\n{}\n{}/{}/{}/aws4_request\n{}",
                self.time,
                self.date,
                self.region,
                self.service,
                hex::encode(Sha256::digest(request))
            );
            hex::encode(hmac(&key, text.as_bytes())) == self.signature
        });
        right.then_some(()).ok_or(Refusal::WrongSignature)
    }

    fn canonical(&self, parts: &Parts, payload: &str) -> String {
        let path = utf8_percent_encode(parts.uri.path(), ENCODED_IN_PATH);
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                format!("{}={}", encoded_anew(name), encoded_anew(value))
            })
            .collect();
        pairs.sort();
        let headers: String = self
            .signed
            .iter()
            .map(|name| {
                let values: Vec<String> = parts
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| {
                        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
                    })
                    .collect();
                format!("{name}:{}\n", values.join(","))
            })
            .collect();
        format!(
            "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
            parts.method,
            pairs.join("&"),
            self.signed.join(";")
        )
    }
}

fn encoded_anew(text: &str) -> String {
    let plain: Vec<u8> = percent_decode_str(text).collect();
    percent_encoding::percent_encode(&plain, ENCODED).to_string()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let hmac = Hmac::<Sha256>::new_from_slice(key).expect("any length of a key is good");
    hmac.chain_update(text).finalize().into_bytes().to_vec()
}
