//! What is received and what is answered.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::Response;
use sha2::{Digest as _, Sha256};

/// What is kept of a body; more is counted only, up to [`MOST`].
const KEPT: usize = 1 << 20;

/// The largest body that is read to its end.
const MOST: usize = 16 << 20;

/// A body, in the pieces in which it came.
pub(crate) struct Received {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) length: usize,
    pub(crate) digest: [u8; 32],
}

impl Received {
    /// Reads a body to its end; none if it breaks off or has none.
    pub(crate) async fn of(body: impl Body<Data = Bytes>) -> Option<Self> {
        let mut body = pin!(body);
        let mut pieces = Vec::new();
        let mut length = 0;
        let mut digest = Sha256::new();
        while let Some(frame) =
            std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            let Ok(piece) = frame.ok()?.into_data() else {
                continue;
            };
            digest.update(&piece);
            length += piece.len();
            if length <= KEPT {
                pieces.push(piece);
            } else if length > MOST {
                return None;
            }
        }
        Some(Self {
            pieces,
            length,
            digest: digest.finalize().into(),
        })
    }

    pub(crate) fn bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn of_kind(status: u16, kind: &str, body: Bytes) -> Self {
        Self {
            status,
            headers: vec![("content-type", kind.to_owned())],
            body,
        }
    }

    pub(crate) fn json(status: u16, body: String) -> Self {
        Self::of_kind(status, "application/json", body.into())
    }

    pub(crate) fn xml(status: u16, body: String) -> Self {
        Self::of_kind(status, "text/xml;charset=UTF-8", body.into())
    }

    pub(crate) fn binary(body: Bytes) -> Self {
        Self::of_kind(200, "application/octet-stream", body)
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As HTTP; if it is cut, the body breaks off in its middle.
    pub(crate) fn into_response(self, is_cut: bool) -> Response<AnswerBody> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = AnswerBody {
            length: self.body.len() as u64,
            left: Some(self.body),
            is_cut,
        };
        response
            .body(body)
            .expect("headers of the double's own are valid")
    }
}

/// A body of an answer.
pub(crate) struct AnswerBody {
    length: u64,
    left: Option<Bytes>,
    is_cut: bool,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match self.left.take() {
            Some(left) if self.is_cut => {
                let half = left.slice(..left.len() / 2);
                Some(Ok(Frame::data(half)))
            }
            None if self.is_cut => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Some(left) if !left.is_empty() => Some(Ok(Frame::data(left))),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.is_cut && self.left.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_cut || self.left.is_some() {
            SizeHint::with_exact(self.length)
        } else {
            SizeHint::with_exact(0)
        }
    }
}
