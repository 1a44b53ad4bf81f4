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

impl Check {
    /// The checks of a bundle whose manifest cannot be used.
    pub fn without_manifest(fault: Fault) -> Vec<Self> {
        let others = [
            Subject::Parts,
            Subject::Sizes,
            Subject::Digests,
            Subject::Signature,
            Subject::Stream,
        ];
        let others = others.map(|subject| Self {
            subject,
            outcome: Outcome::NotChecked(Reason::NoManifest),
        });
        let manifest = Self {
            subject: Subject::Manifest,
            outcome: Outcome::Fails(vec![fault]),
        };
        std::iter::once(manifest).chain(others).collect()
    }
}

impl Outcome {
    /// That of a check which found this, unless something is wrong.
    pub fn of_faults(faults: Vec<Fault>, found: Finding) -> Self {
        match faults.is_empty() {
            true => Self::Holds(found),
            false => Self::Fails(faults),
        }
    }

    /// That of [`Subject::Sizes`], in bytes. The digests cover every byte; the sum of the sizes only shows whether the manifest is
    /// consistent. `are_whole`: all parts are there with the right digests.
    pub fn of_sizes(said: Option<u64>, found: u64, are_whole: bool) -> Self {
        match said {
            _ if !are_whole => Self::NotChecked(Reason::PartIsBad),
            None => Self::NotChecked(Reason::NotInManifest),
            Some(said) if said == found => Self::Holds(Finding::Sizes(found)),
            Some(said) => Self::Fails(vec![Fault::Sizes { found, said }]),
        }
    }

    /// That of [`Subject::Signature`].
    pub fn of_signature(contents: &BundleContents, certificate: Option<&Certificate>) -> Self {
        let Some(certificate) = certificate else {
            return Self::NotChecked(Reason::NoCertificate);
        };
        match contents.verify(certificate) {
            Ok(()) => Self::Holds(Finding::Signature(certificate.info().cloned())),
            Err(error) => Self::Fails(vec![error.into()]),
        }
    }
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
        Err(error) => return Ok(Check::without_manifest(error.into())),
    };
    (running.events)(Event::ManifestRead(&contents));
    let found = Finding::Manifest {
        name: contents.name.clone().unwrap_or_default(),
        size: contents.size,
    };
    checks.holds(Subject::Manifest, found);

    let parts_hold = checks.check_parts(&contents, request, running)?;
    let signature = Outcome::of_signature(&contents, certificate.as_ref());
    checks.add(Subject::Signature, signature);
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
        let (all_there, digests_hold) = (missing.is_empty(), wrong.is_empty());
        let parts = Outcome::of_faults(missing, Finding::Parts(count));
        self.add(Subject::Parts, parts);
        let sizes = Outcome::of_sizes(contents.bundled_size, size, all_there && digests_hold);
        self.add(Subject::Sizes, sizes);
        let found = Finding::Digests { of_all: all_there };
        self.add(Subject::Digests, Outcome::of_faults(wrong, found));
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
