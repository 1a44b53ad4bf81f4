//! A warning about the user's certificate.

use std::path::Path;
use std::time::SystemTime;

use ami_manifest::{Certificate, Validity};

use crate::context::Context;

impl Context {
    /// Warns if the user's certificate is not valid now. It is used all the same. If it cannot be read, there is no warning, because using it
    /// will fail.
    pub fn warn_of_certificate(&self, path: &Path) {
        let Ok(certificate) = Certificate::load(path) else {
            return;
        };
        if let Some(warning) = not_valid(path, &certificate, SystemTime::now()) {
            self.warn(&warning);
        }
    }
}

/// The warning about a certificate that is not valid at this time.
fn not_valid(path: &Path, certificate: &Certificate, now: SystemTime) -> Option<String> {
    let info = certificate.info()?;
    let what = match info.validity_at(now) {
        Validity::Valid => return None,
        Validity::NotYet => format!("is not valid yet: it is valid from {}", info.valid_from()),
        Validity::Expired => format!("has expired: it was valid until {}", info.valid_until()),
    };
    let subject = info.subject().map(|subject| format!(" ({subject:?})"));
    Some(format!(
        "WARNING: the certificate {}{} {what}.",
        path.display(),
        subject.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_manifest::NewIdentity;
    use std::time::Duration;

    #[test]
    fn a_certificate_that_is_not_valid_is_warned_of() {
        let new = NewIdentity::generate(2048, 1, "web").unwrap();
        let certificate = Certificate::parse(&new.certificate).unwrap();
        let info = certificate.info().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let warning = |now| not_valid("c.pem".as_ref(), &certificate, now);
        assert_eq!(warning(now), None);
        assert_eq!(
            warning(now + 2 * day).unwrap(),
            format!(
                "WARNING: the certificate c.pem (\"CN=web\") has expired: it was valid until {}.",
                info.valid_until()
            )
        );
        assert_eq!(
            warning(now - day).unwrap(),
            format!(
                "WARNING: the certificate c.pem (\"CN=web\") is not valid yet: it is valid from {}.",
                info.valid_from()
            )
        );
    }
}
