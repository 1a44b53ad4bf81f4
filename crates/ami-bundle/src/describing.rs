//! What the start of a bundle's stream says about the image.
//!
//! The manifest's size cannot be relied on before all is read: some bundlers write that of the tar stream.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use ami_image::{Description, ImageSink};
use ami_manifest::BundleKey;
use ami_parts::PartSource;

use crate::error::{Error, StreamError};
use crate::settings::Settings;
use crate::unbundle::{Expected, run};

/// Reads as much of the parts as is needed to tell the image's name, size, mode and time: usually the first part alone.
///
/// Of what was read, only the parts' SHA-1 has been checked, not the stream as a whole.
///
/// # Errors
/// The source's; [`Error::Cipher`] and [`Error::Stream`] for damaged or foreign parts; [`Error::Interrupted`].
pub fn describe<P: PartSource>(
    source: P,
    expected: &Expected,
    key: &BundleKey,
    interrupted: &AtomicBool,
) -> Result<Description, Error>
where
    P::Error: Into<Error>,
{
    let mut found = None;
    // One thread alone takes a step only when those after it have nothing to do, so it reads no further than the sink needs.
    let settings = Settings {
        threads: NonZeroUsize::MIN,
        progress: &|_| {},
        interrupted,
    };
    let ended = run(source, expected, key, Start(&mut found), &settings).map(drop);
    match (found, ended) {
        (Some(description), _) => Ok(description),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(StreamError::NoMember.into()),
    }
}

/// Keeps the image's description, and takes nothing else.
struct Start<'a>(&'a mut Option<Description>);

impl ImageSink for Start<'_> {
    type Error = Error;
    type Finished = ();

    /// # Errors
    /// [`Error::Interrupted`], which ends the pipeline.
    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        *self.0 = Some(image.clone());
        Err(Error::Interrupted)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        Ok(())
    }
}
