//! Checking a bundle in S3 without storing anything, as `ami_bundle::verify_bundle` checks one on disk.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use ami_bundle::{Check, Expected, Fault, Finding, Outcome, Reason, Settings, Subject};
use ami_manifest::{BundleContents, BundleKey, Certificate, PrivateKey};
use ami_parts::PartSource;
use ami_s3::{Bucket, BucketPath};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::Error;
use crate::held_parts::{HeldPart, get_manifest, look_up_each};
use crate::link::{Link, connected, in_background};
use crate::names;
use crate::observer::{Event, Observer};
use crate::remote_bundle::check_readable;
use crate::remote_parts::RemoteParts;

/// How much is read at a time (bytes).
const READ: usize = 1 << 20;

/// Which bundle to check, and with which keys.
#[derive(Debug, Clone)]
pub struct VerifyInS3 {
    /// The settings of the connection to S3.
    pub s3: ami_s3::Settings,
    /// The bucket, and the folder in it.
    pub bucket: BucketPath,
    /// The manifest's file name.
    pub manifest: String,
    /// The file of the private key that the bundle was made for. It also decrypts an encrypted manifest.
    pub private_key: Option<PathBuf>,
    /// The file of the certificate of the key that must have signed the manifest.
    pub certificate: Option<PathBuf>,
}

/// Runs all checks. After one fails, those that do not depend on it still run. Each part is read once, unless one is damaged.
///
/// # Errors
/// [`Error::Manifest`] if the given certificate or key cannot be used; [`Error::S3`] if the manifest cannot be read, or S3 refuses
/// something; [`Error::Archived`]; [`Error::Interrupted`].
pub async fn verify(
    request: &VerifyInS3,
    threads: NonZeroUsize,
    observer: &impl Observer,
) -> Result<Vec<Check>, Error> {
    connected(&request.s3, observer, async |link| {
        run(request, threads, link, observer).await
    })
    .await
}

async fn run(
    request: &VerifyInS3,
    threads: NonZeroUsize,
    link: &Link,
    observer: &impl Observer,
) -> Result<Vec<Check>, Error> {
    let certificate = request.certificate.as_deref().map(Certificate::load);
    let certificate = certificate.transpose()?;
    let key = request.private_key.as_deref().map(PrivateKey::load);
    let key = key.transpose()?;
    let bucket = link.connection.bucket(request.bucket.clone());
    let contents = contents(request, &bucket, key.as_ref()).await?;
    let contents = match contents {
        Ok(contents) => contents,
        Err(fault) => return Ok(Check::without_manifest(fault)),
    };
    let found = look_up_each(&bucket, &contents.parts).await?;
    let size = found.parts.iter().map(|part| part.held.size).sum();
    check_readable(&found.parts, &bucket)?;
    let reading = Reading {
        bucket,
        parts: found.parts.into(),
        runtime: Handle::current(),
        alive: watch::Sender::new(()),
    };
    observer.tell(link.begin_bytes(size))?;
    let is_complete = found.missing.is_empty();
    let stream = match &key {
        Some(key) if is_complete => Some(match contents.user_key.unwrap_with(key) {
            Ok(key) => reading.check_stream(&contents, size, key, threads).await,
            // One error, without the key's path, whatever the reason.
            Err(_) => Err(ami_manifest::Error::WrongKey.into()),
        }),
        _ => None,
    };
    // A stream that is right has shown that every part is.
    let damaged = match &stream {
        Some(Ok(_)) => Vec::new(),
        _ => reading.damaged_parts().await?,
    };
    observer.tell(Event::End)?;
    if let Some(Err(Fault::Stream(ami_bundle::Error::Interrupted))) = stream {
        return Err(Error::Interrupted);
    }
    let are_whole = is_complete && damaged.is_empty();
    let count = contents.parts.len();
    Ok([
        (Subject::Manifest, manifest_found(&contents)),
        (
            Subject::Parts,
            Outcome::of_faults(found.missing, Finding::Parts(count)),
        ),
        (
            Subject::Sizes,
            Outcome::of_sizes(contents.bundled_size, size, are_whole),
        ),
        (
            Subject::Digests,
            Outcome::of_faults(
                damaged,
                Finding::Digests {
                    of_all: is_complete,
                },
            ),
        ),
        (
            Subject::Signature,
            Outcome::of_signature(&contents, certificate.as_ref()),
        ),
        (Subject::Stream, of_stream(stream, &key, are_whole)),
    ]
    .into_iter()
    .map(|(subject, outcome)| Check { subject, outcome })
    .collect())
}

/// What the manifest says, or what is wrong with it.
async fn contents(
    request: &VerifyInS3,
    bucket: &Bucket,
    key: Option<&PrivateKey>,
) -> Result<Result<BundleContents, Fault>, Error> {
    let file = request.manifest.as_str();
    let mut bytes = get_manifest(bucket, file).await?;
    if let Some(key) = key
        && ami_manifest::is_encrypted(&bytes)
    {
        match ami_manifest::decrypt(&bytes, key) {
            Ok(text) => bytes = text,
            Err(error) => return Ok(Err(error.into())),
        }
    }
    let path = PathBuf::from(bucket.path().location(file));
    let parsed = BundleContents::parse_named(&bytes, &path);
    let parsed = parsed.and_then(|contents| contents.with_name(&path));
    Ok(match parsed {
        Ok(contents) => match names::check_listed(&contents.parts, file) {
            Ok(()) => Ok(contents),
            Err(error) => return Err(error.into()),
        },
        Err(error) => Err(error.into()),
    })
}

/// The parts that are there, as they are read.
struct Reading {
    bucket: Bucket,
    parts: Arc<[HeldPart]>,
    runtime: Handle,
    /// Ends the reading when it is dropped.
    alive: watch::Sender<()>,
}

impl Reading {
    fn of(&self, parts: Arc<[HeldPart]>) -> RemoteParts {
        let (bucket, runtime) = (self.bucket.clone(), self.runtime.clone());
        RemoteParts::new(bucket, parts, runtime, self.alive.subscribe())
    }

    /// Checks the stream, and returns the image's name.
    async fn check_stream(
        &self,
        contents: &BundleContents,
        bundled_size: u64,
        key: BundleKey,
        threads: NonZeroUsize,
    ) -> Result<String, Fault> {
        let expected = Expected {
            digest: contents.digest.0,
            size: contents.size,
            bundled_size,
        };
        let parts = self.of(self.parts.clone());
        let checked = in_background(move |interrupted| {
            let settings = Settings {
                threads,
                progress: &|_| {},
                interrupted,
            };
            ami_bundle::verify_stream(parts, &expected, &key, &settings)
        });
        let name = checked.await.map_err(ami_bundle::Error::from)?;
        Ok(name?)
    }

    /// Reads all parts, and returns what is wrong with them. If something is, each is read by itself.
    async fn damaged_parts(&self) -> Result<Vec<Fault>, Error> {
        let all = self.of(self.parts.clone());
        let each: Vec<RemoteParts> = self
            .parts
            .iter()
            .map(|part| self.of(Arc::from([part.clone()])))
            .collect();
        let faults = in_background(move |_| match exhaust(all) {
            Ok(()) => Ok(Vec::new()),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(_) => {
                let mut faults = Vec::new();
                for part in each {
                    match exhaust(part) {
                        Ok(()) => {}
                        Err(Error::Interrupted) => return Err(Error::Interrupted),
                        Err(error) => faults.push(Fault::Stream(error.into())),
                    }
                }
                Ok(faults)
            }
        });
        faults.await?
    }
}

/// Reads all of it.
fn exhaust(mut parts: RemoteParts) -> Result<(), Error> {
    let mut buffer = vec![0; READ];
    while parts.read(&mut buffer)? > 0 {}
    Ok(())
}

fn manifest_found(contents: &BundleContents) -> Outcome {
    Outcome::Holds(Finding::Manifest {
        name: contents.name.clone().unwrap_or_default(),
        size: contents.size,
    })
}

fn of_stream(
    checked: Option<Result<String, Fault>>,
    key: &Option<PrivateKey>,
    are_whole: bool,
) -> Outcome {
    match checked {
        _ if key.is_none() => Outcome::NotChecked(Reason::NoKey),
        Some(Ok(name)) => Outcome::Holds(Finding::Stream(name)),
        Some(Err(fault)) if are_whole => Outcome::Fails(vec![fault]),
        _ => Outcome::NotChecked(Reason::PartsFail),
    }
}
