//! Where an unbundled image goes: a file, a block device, or standard output.

use std::convert::Infallible;
use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use ami_bundle::Error;
use ami_cli::{Answer, Context, Failure, shown_path};
use ami_files::{first_same_file, folder_of};
use ami_image::{Description, ImageDevice, ImageFile, ImageSink, ImageStream};
use ami_parts::{Staging, check_place};

use crate::bundle_outcome::failure;
use crate::exit;

/// The image's name in the private folder.
const STAGED: &str = "image";

/// Nobody could be asked whether a device may be overwritten.
#[derive(Debug, thiserror::Error)]
#[error("{} would be overwritten, and there is no terminal to ask at; give --yes", shown_path(.0))]
struct NotAsked(PathBuf);

/// The answer was no, or there was none.
#[derive(Debug, thiserror::Error)]
#[error("{} was not overwritten", shown_path(.0))]
struct NotAgreed(PathBuf);

/// What an image is written to.
pub struct Target {
    place: Place,
    /// Set when the first byte may be written to what cannot be taken back.
    is_begun: Arc<AtomicBool>,
    size: u64,
    /// Tells `Ended` that this was dropped; after `place`, so that nothing of it is left then.
    _lives: Sender<Infallible>,
}

/// Becomes known when a [`Target`] was dropped.
pub struct Ended(Receiver<Infallible>);

impl Ended {
    /// Waits until the target was dropped, on whichever thread that is.
    pub fn wait(self) {
        // Nothing is ever sent.
        let _ = self.0.recv();
    }
}

enum Place {
    File(Box<NewFile>),
    Device(ImageDevice),
    Stream(ImageStream<File>),
}

/// A file that gets its name when it is whole.
struct NewFile {
    image: ImageFile,
    staging: Staging,
    path: PathBuf,
    may_replace: bool,
}

/// How the user names a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Device,
    Stream,
}

impl Kind {
    pub fn of(path: &Path) -> Self {
        let is_device = || {
            let metadata = path.metadata();
            metadata.is_ok_and(|metadata| metadata.file_type().is_block_device())
        };
        match path == Path::new("-") {
            true => Self::Stream,
            false if is_device() => Self::Device,
            false => Self::File,
        }
    }
}

/// Refuses a target that cannot take an image of `size` bytes; `None` if the size is not known yet.
pub fn check(path: &Path, may_replace: bool, size: Option<u64>) -> Result<(), Failure> {
    let checked = match Kind::of(path) {
        Kind::File => check_place(path, may_replace).map_err(Error::from),
        Kind::Device => ImageDevice::open(path)
            .and_then(|device| device.check_size(size.unwrap_or(0)))
            .map_err(Error::from),
        Kind::Stream => return check_stdout(),
    };
    checked.map_err(|error| failure(error.into()))
}

fn check_stdout() -> Result<(), Failure> {
    match std::io::stdout().is_terminal() {
        false => Ok(()),
        true => Err(Failure::usage(
            "standard output is a terminal, which an image is not written to: give it to a program, or name a file",
        )),
    }
}

impl Target {
    /// Opens what the user names. Writes nothing; before a device is overwritten, the user is asked unless `is_agreed`.
    pub fn open(
        path: &Path,
        may_replace: bool,
        is_agreed: bool,
        context: &Context,
    ) -> Result<(Self, Ended), Failure> {
        let failed = |error: Error| failure(error.into());
        let place = match Kind::of(path) {
            Kind::Stream => {
                check_stdout()?;
                let stdout = rustix::io::dup(rustix::stdio::stdout());
                let stdout = stdout.map_err(|error| Failure::new(exit::OTHER, error))?;
                let name = Path::new("standard output");
                Place::Stream(ImageStream::new(File::from(stdout), name))
            }
            Kind::Device => {
                let device = ImageDevice::open(path).map_err(|error| failed(error.into()))?;
                if !is_agreed {
                    ask(path, device.size(), context)?;
                }
                Place::Device(device)
            }
            Kind::File => {
                let file = NewFile::create(path, may_replace, context);
                Place::File(Box::new(file.map_err(failed)?))
            }
        };
        let (lives, ended) = channel();
        let target = Self {
            place,
            is_begun: Arc::default(),
            size: 0,
            _lives: lives,
        };
        Ok((target, Ended(ended)))
    }

    /// Set when something was written that an error does not take back.
    pub fn is_begun(&self) -> Arc<AtomicBool> {
        self.is_begun.clone()
    }

    /// Refuses to replace one of these files, which the image is made from.
    pub fn spare(&self, sources: &[PathBuf]) -> Result<(), Error> {
        let Place::File(file) = &self.place else {
            return Ok(());
        };
        match first_same_file(sources, [file.path.as_path()].into_iter()) {
            None => Ok(()),
            Some(_) => Err(Error::WouldReplace {
                path: file.path.clone(),
            }),
        }
    }
}

fn ask(path: &Path, size: u64, context: &Context) -> Result<(), Failure> {
    let declined = |error| Err(Failure::new(exit::DECLINED, error));
    if context.is_json() || !std::io::stdin().is_terminal() {
        return Err(Failure::new(exit::DECLINED, NotAsked(path.to_owned())));
    }
    let question = format!(
        "{} ({size} bytes) is overwritten, with all that is on it. Are you sure? [y/N]",
        shown_path(path)
    );
    match context.confirm(&question)? {
        Answer::Yes => Ok(()),
        Answer::No | Answer::None => declined(NotAgreed(path.to_owned())),
    }
}

impl NewFile {
    fn create(path: &Path, may_replace: bool, context: &Context) -> Result<Self, Error> {
        check_place(path, may_replace)?;
        let staging = context.staging(folder_of(path))?;
        let file = staging.create(STAGED, 0o666)?;
        Ok(Self {
            image: ImageFile::new(file, &staging.path().join(STAGED))?,
            staging,
            path: path.to_owned(),
            may_replace,
        })
    }

    fn finish(self) -> Result<(), Error> {
        let _ = self.image.finish()?;
        // Checked again: something may have been created under the name since.
        check_place(&self.path, self.may_replace)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let named = match self.may_replace {
            true => self.staging.replace(STAGED, &name),
            false => self.staging.give_name(STAGED, &name),
        };
        let _ = named?;
        self.staging.remove();
        Ok(())
    }
}

impl ImageSink for Target {
    type Error = Error;
    /// The image's size in bytes.
    type Finished = u64;

    fn begin(&mut self, image: &Description) -> Result<(), Error> {
        self.size = image.size;
        match &mut self.place {
            Place::File(file) => return Ok(file.image.begin(image)?),
            Place::Device(device) => device.begin(image)?,
            Place::Stream(stream) => stream.begin(image)?,
        }
        self.is_begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let written = match &mut self.place {
            Place::File(file) => file.image.write(offset, data),
            Place::Device(device) => device.write(offset, data),
            Place::Stream(stream) => stream.write(offset, data),
        };
        written.map_err(Error::from)
    }

    fn finish(self) -> Result<u64, Error> {
        match self.place {
            Place::File(file) => file.finish()?,
            Place::Device(device) => device.finish()?,
            Place::Stream(stream) => drop(stream.finish()?),
        }
        Ok(self.size)
    }
}
