//! Content to upload: bytes in memory, or a file that is read while it is sent.
//!
//! A file is opened once, so that retries send the same file even if another has its name by then. An error in reading it is kept here,
//! because the SDK would report it as a network error.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::object::READ;

/// Content to upload.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file, which is read while it is sent.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
}

/// Content that can be sent any number of times.
#[derive(Debug)]
pub(crate) enum Outgoing {
    File(Arc<OpenFile>),
    Bytes(Bytes),
}

#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    /// How many bytes are sent, as announced.
    size: u64,
    failure: Mutex<Option<io::Error>>,
}

impl Outgoing {
    /// Opens the content, of which `size` bytes will be sent.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn of(content: &Content, size: u64) -> Result<Self, Error> {
        match content {
            Content::Bytes(bytes) => Ok(Self::Bytes(bytes.clone())),
            Content::File(path) => {
                OpenFile::open(path, size).map(|file| Self::File(Arc::new(file)))
            }
        }
    }

    /// A body with all of it.
    pub(crate) fn body(&self) -> ByteStream {
        ByteStream::new(match self {
            Self::Bytes(bytes) if bytes.len() <= READ => SdkBody::from(bytes.clone()),
            // Piece by piece, so that it is counted, and a stalled transfer noticed, as with a file.
            Self::Bytes(bytes) => {
                let bytes = bytes.clone();
                SdkBody::retryable(move || SdkBody::from_body_1_x(Pieces(bytes.clone())))
            }
            Self::File(file) => {
                let file = file.clone();
                SdkBody::retryable(move || {
                    SdkBody::from_body_1_x(Reading {
                        file: file.clone(),
                        position: 0,
                        next: None,
                    })
                })
            }
        })
    }

    /// Returns the error in reading the file, if there was one.
    ///
    /// # Errors
    /// [`Error::Io`], once.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self::File(file) = self else {
            return Ok(());
        };
        let mut failure = file.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            None => Ok(()),
            Some(error) => Err(Error::io("read", &file.path)(error)),
        }
    }
}

impl OpenFile {
    fn open(path: &Path, size: u64) -> Result<Self, Error> {
        Ok(Self {
            file: ami_files::open_regular(path).map_err(Error::io("read", path))?,
            path: path.to_owned(),
            size,
            failure: Mutex::default(),
        })
    }

    /// Reads the next bytes, at `position`.
    fn read(&self, position: u64) -> io::Result<Bytes> {
        let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
        let mut buffer = vec![0; left.min(READ)];
        let count = loop {
            match self.file.read_at(&mut buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count == 0 {
            let text = format!("it became smaller: {position} bytes of {}", self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        buffer.truncate(count);
        Ok(buffer.into())
    }
}

/// One pass over bytes in memory: what is left of them.
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let left = &mut self.get_mut().0;
        let piece = left.split_to(left.len().min(READ));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// One pass over a file.
struct Reading {
    file: Arc<OpenFile>,
    position: u64,
    /// The read in progress, on another thread: a slow disk must not hold up other transfers.
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body for Reading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.is_end_stream() {
            return Poll::Ready(None);
        }
        let next = this.next.get_or_insert_with(|| {
            let (file, position) = (this.file.clone(), this.position);
            tokio::task::spawn_blocking(move || file.read(position))
        });
        let read = ready!(Pin::new(next).poll(context));
        this.next = None;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        Poll::Ready(Some(match read {
            Ok(bytes) => {
                this.position += bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                let text = error.to_string();
                let mut failure = this
                    .file
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *failure = Some(error);
                Err(text.into())
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.file.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.file.size - self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn read(outgoing: &Outgoing) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let collected = runtime.block_on(outgoing.body().collect());
        collected
            .map(|data| data.to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_sent_again_even_if_another_has_its_name() {
        let bytes: Vec<u8> = (0..2 * READ + 77).map(|i| (i / 5) as u8).collect();
        let file = file(&bytes);
        let content = Content::File(file.path().to_owned());
        let outgoing = Outgoing::of(&content, bytes.len() as u64).unwrap();
        assert!(read(&outgoing).unwrap() == bytes);
        std::fs::remove_file(file.path()).unwrap();
        std::fs::write(file.path(), b"another").unwrap();
        assert!(read(&outgoing).unwrap() == bytes);
        assert!(outgoing.check().is_ok());
        assert_eq!(read(&Outgoing::of(&content, 0).unwrap()).unwrap(), b"");
    }

    #[test]
    fn bytes_in_memory_are_sent_any_number_of_times() {
        for length in [0, 7, READ, READ + 1, 3 * READ] {
            let bytes: Vec<u8> = (0..length).map(|i| (i / 5) as u8).collect();
            let content = Content::Bytes(bytes.clone().into());
            let outgoing = Outgoing::of(&content, length as u64).unwrap();
            for _ in 0..2 {
                assert!(read(&outgoing).unwrap() == bytes, "{length}");
            }
        }
    }

    #[test]
    fn finding_06_only_regular_files_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("image.part.0");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = Outgoing::of(&Content::File(socket), 9).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it is a socket, not a regular file");
    }

    #[test]
    fn finding_24_an_error_in_reading_a_local_file_is_reported_as_such() {
        let file = file(b"short");
        let content = Content::File(file.path().to_owned());
        let outgoing = Outgoing::of(&content, 9).unwrap();
        assert!(read(&outgoing).is_err());
        let error = outgoing.check().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            format!("{error}: {cause}"),
            format!(
                "cannot read {}: it became smaller: 5 bytes of 9",
                file.path().display()
            )
        );
        assert!(outgoing.check().is_ok());
    }
}
