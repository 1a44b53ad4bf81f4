//! The story of checking a bundle: its checks, one after the other, and their results.

use std::path::PathBuf;

use ami_manifest::{BundleContents, Certificate, CertificateInfo, PrivateKey};
use ami_parts::{PartFile, PartFiles};

use crate::error::Error;
use crate::events::{Event, Running};
use crate::files::BundleFiles;
use crate::unbundle::verify_stream;

/// Which bundle to check, and with which certificate and key.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The manifest.
    pub manifest: PathBuf,
    /// The folder with the parts.
    pub parts: PathBuf,
    /// The certificate of the key that must have signed the manifest.
    pub certificate: Option<PathBuf>,
    /// The private key that the bundle was made for.
    pub key: Option<PathBuf>,
}

/// What is checked, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// That the manifest can be used.
    Manifest,
    /// That no part is missing.
    Parts,
    /// That the sum of the parts' sizes is the manifest's.
    Sizes,
    /// That every part has the manifest's digest.
    Digests,
    /// That the manifest was signed by the certificate's owner.
    Signature,
    /// That the parts decrypt and decompress to the image that was bundled.
    Stream,
}

/// A check and its outcome.
#[derive(Debug)]
pub struct Check {
    /// What was checked.
    pub subject: Subject,
    /// Its outcome.
    pub outcome: Outcome,
}

/// The outcome of a check.
#[derive(Debug)]
pub enum Outcome {
    /// Passed.
    Holds(Finding),
    /// Failed, with everything that is wrong.
    Fails(Vec<Fault>),
    /// It could not be done.
    NotChecked(Reason),
}

/// What a check that passed found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The manifest can be used.
    Manifest {
        /// The bundle's name.
        name: String,
        /// The image's size in bytes; `None` if the manifest does not say it.
        size: Option<u64>,
    },
    /// All parts are there; their number.
    Parts(usize),
    /// The parts have the total size in the manifest, in bytes.
    Sizes(u64),
    /// The digests are right.
    Digests {
        /// Whether all parts were there to be checked.
        of_all: bool,
    },
    /// The manifest was signed by the owner of the certificate, which is described where it can be parsed.
    Signature(Option<CertificateInfo>),
    /// The stream is the image with this name, as it was bundled.
    Stream(String),
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The manifest, its signature, or its key.
    #[error(transparent)]
    Manifest(#[from] ami_manifest::Error),
    /// A part.
    #[error(transparent)]
    Part(#[from] ami_parts::Error),
    /// The sum of the parts' sizes.
    #[error("the parts have {found} bytes in all, the manifest says {said}")]
    Sizes {
        /// Bytes.
        found: u64,
        /// Bytes.
        said: u64,
    },
    /// The stream that the parts decrypt to.
    #[error(transparent)]
    Stream(#[from] Error),
}

/// Why something was not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The manifest cannot be read.
    NoManifest,
    /// A part is missing or damaged.
    PartIsBad,
    /// The manifest does not say it.
    NotInManifest,
    /// There is no certificate to check it with.
    NoCertificate,
    /// There is no private key to check it with.
    NoKey,
    /// A check of the parts failed.
    PartsFail,
}

/// Runs all checks. After one fails, those that do not depend on it still run.
///
/// # Errors
/// [`Error::Manifest`] if the given certificate or key cannot be used; [`Error::Interrupted`].
pub fn verify_bundle(request: &VerifyRequest, running: &Running<'_>) -> Result<Vec<Check>, Error> {
    let certificate = request.certificate.as_deref().map(Certificate::load);
    let certificate = certificate.transpose()?;
    let key = request.key.as_deref().map(PrivateKey::load).transpose()?;
    let mut checks = Checks(Vec::new());
    let contents = BundleContents::load(&request.manifest);
    let contents = match contents.and_then(|contents| contents.with_name(&request.manifest)) {
        Ok(contents) => contents,
        Err(error) => {
            checks.fails(Subject::Manifest, vec![error.into()]);
            for subject in [
                Subject::Parts,
                Subject::Sizes,
                Subject::Digests,
                Subject::Signature,
                Subject::Stream,
            ] {
                checks.not_checked(subject, Reason::NoManifest);
            }
            return Ok(checks.0);
        }
    };
    (running.events)(Event::ManifestRead(&contents));
    let found = Finding::Manifest {
        name: contents.name.clone().unwrap_or_default(),
        size: contents.size,
    };
    checks.holds(Subject::Manifest, found);

    let parts_hold = checks.check_parts(&contents, request, running)?;
    match certificate {
        Some(certificate) => match contents.verify(&certificate) {
            Ok(()) => {
                let info = certificate.info().cloned();
                checks.holds(Subject::Signature, Finding::Signature(info));
            }
            Err(error) => checks.fails(Subject::Signature, vec![error.into()]),
        },
        None => checks.not_checked(Subject::Signature, Reason::NoCertificate),
    }
    match key {
        None => checks.not_checked(Subject::Stream, Reason::NoKey),
        Some(_) if !parts_hold => checks.not_checked(Subject::Stream, Reason::PartsFail),
        Some(key) => match check_stream(&contents, request, &key, running) {
            Ok(name) => checks.holds(Subject::Stream, Finding::Stream(name)),
            Err(Fault::Stream(Error::Interrupted)) => return Err(Error::Interrupted),
            Err(fault) => checks.fails(Subject::Stream, vec![fault]),
        },
    }
    Ok(checks.0)
}

struct Checks(Vec<Check>);

impl Checks {
    fn holds(&mut self, subject: Subject, found: Finding) {
        self.add(subject, Outcome::Holds(found));
    }

    fn fails(&mut self, subject: Subject, faults: Vec<Fault>) {
        self.add(subject, Outcome::Fails(faults));
    }

    fn not_checked(&mut self, subject: Subject, why: Reason) {
        self.add(subject, Outcome::NotChecked(why));
    }

    fn add(&mut self, subject: Subject, outcome: Outcome) {
        self.0.push(Check { subject, outcome });
    }

    /// Checks the parts, and returns whether all are there with the right digests.
    fn check_parts(
        &mut self,
        contents: &BundleContents,
        request: &VerifyRequest,
        running: &Running<'_>,
    ) -> Result<bool, Error> {
        let parts = BundleFiles::named(&contents.parts, &request.parts);
        let (threads, interrupted) = (running.threads, running.interrupted);
        let results = ami_parts::check_all(&parts, threads, interrupted, PartFile::verify)
            .ok_or(Error::Interrupted)?;
        let count = results.len();
        let mut size = 0;
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(part_size) => size += part_size,
                Err(error @ ami_parts::Error::Missing { .. }) => missing.push(error.into()),
                Err(error) => wrong.push(error.into()),
            }
        }
        let all_there = missing.is_empty();
        if all_there {
            self.holds(Subject::Parts, Finding::Parts(count));
        } else {
            self.fails(Subject::Parts, missing);
        }
        // The digests cover every byte; the sum of the sizes only shows whether the manifest is consistent.
        match contents.bundled_size {
            _ if !all_there || !wrong.is_empty() => {
                self.not_checked(Subject::Sizes, Reason::PartIsBad);
            }
            None => self.not_checked(Subject::Sizes, Reason::NotInManifest),
            Some(said) if said == size => self.holds(Subject::Sizes, Finding::Sizes(size)),
            Some(said) => {
                let fault = Fault::Sizes { found: size, said };
                self.fails(Subject::Sizes, vec![fault]);
            }
        }
        let digests_hold = wrong.is_empty();
        if digests_hold {
            let of_all = all_there;
            self.holds(Subject::Digests, Finding::Digests { of_all });
        } else {
            self.fails(Subject::Digests, wrong);
        }
        Ok(all_there && digests_hold)
    }
}

/// Checks the stream, and returns the image's name.
fn check_stream(
    contents: &BundleContents,
    request: &VerifyRequest,
    key: &PrivateKey,
    running: &Running<'_>,
) -> Result<String, Fault> {
    let bundle_key = contents.user_key.unwrap_with(key);
    // One error, without the key's path, whatever the reason.
    let bundle_key = bundle_key.map_err(|_| ami_manifest::Error::WrongKey)?;
    let BundleFiles { parts, expected } = BundleFiles::find(contents, &request.parts)?;
    let name = running.pipeline(expected.bundled_size, |settings| {
        verify_stream(PartFiles::new(parts), &expected, &bundle_key, settings)
    });
    Ok(name?)
}
