//! An answer's body that fails when it is too large or too slow.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use memchr::memchr_iter;

/// An answer may have one XML element for this many bytes of its limit, because an empty element takes hundreds of bytes in memory.
const BYTES_OF_ELEMENT: u64 = 32;

/// Why an answer was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// It is too long.
    #[error("the server's answer has more than {0} bytes")]
    Bytes(u64),
    /// It has too many XML elements.
    #[error("the server's answer has more than {0} elements")]
    Elements(u64),
    /// It takes too long.
    #[error("the server's answer took more than {} s", .0.as_secs())]
    Time(Duration),
}

/// A body with a limit on its bytes and its time.
pub(crate) struct Body<T> {
    inner: SdkBody,
    most: u64,
    bytes: u64,
    brackets: u64,
    end: Pin<Box<T>>,
    time: Duration,
}

impl<T: Future<Output = ()>> Body<T> {
    /// `end` is ready after `time`.
    pub(crate) fn new(inner: SdkBody, most: u64, end: T, time: Duration) -> Self {
        Self {
            inner,
            most,
            bytes: 0,
            brackets: 0,
            end: Box::pin(end),
            time,
        }
    }

    fn check(&mut self, data: &[u8]) -> Result<(), TooMuch> {
        self.bytes += data.len() as u64;
        // An element has two opening brackets, or one if it is empty.
        self.brackets += memchr_iter(b'<', data).count() as u64;
        let elements = self.most / BYTES_OF_ELEMENT;
        if self.bytes > self.most {
            Err(TooMuch::Bytes(self.most))
        } else if self.brackets > 2 * elements {
            Err(TooMuch::Elements(elements))
        } else {
            Ok(())
        }
    }
}

impl<T: Future<Output = ()>> http_body::Body for Body<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.inner.size_hint().lower() > this.most {
            return Poll::Ready(Some(Err(TooMuch::Bytes(this.most).into())));
        }
        if this.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(TooMuch::Time(this.time).into())));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(error) = this.check(data)
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use std::future::{pending, ready};
    use std::task::Waker;

    const MOST: u64 = 64;
    const TIME: Duration = Duration::from_secs(60);

    /// Reads a body of these pieces: all bytes, or the error.
    fn read<T: Future<Output = ()>>(
        pieces: &'static [&'static str],
        end: T,
    ) -> Result<Vec<u8>, TooMuch> {
        let body = Body::new(SdkBody::from_body_1_x(Pieces(pieces)), MOST, end, TIME);
        let mut body = std::pin::pin!(body);
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        loop {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Ready(None) => return Ok(all),
                Poll::Ready(Some(Ok(frame))) => all.extend_from_slice(frame.data_ref().unwrap()),
                Poll::Ready(Some(Err(error))) => return Err(*error.downcast().unwrap()),
                Poll::Pending => panic!("pieces do not wait"),
            }
        }
    }

    struct Pieces(&'static [&'static str]);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.split_first().map(|(first, rest)| {
                self.0 = rest;
                Ok(Frame::data(Bytes::from_static(first.as_bytes())))
            }))
        }
    }

    #[test]
    fn finding_10_an_answer_within_the_limits_is_unchanged() {
        assert_eq!(read(&["<a>b", "</a>"], pending()).unwrap(), b"<a>b</a>");
        const FULL: &str = "0123456789012345678901234567890123456789012345678901234567890123";
        assert_eq!(read(&[FULL], pending()).unwrap().len(), 64);
        assert_eq!(read(&[FULL, "4"], pending()), Err(TooMuch::Bytes(64)));
    }

    #[test]
    fn finding_10_elements_without_text_are_counted() {
        assert_eq!(
            read(&["<a/>", "<a/><a/><a/>"], pending()).unwrap().len(),
            16
        );
        let five = ["<a/><a/>", "<a/><a/><a/>"];
        assert_eq!(
            read(Box::leak(Box::new(five)), pending()),
            Err(TooMuch::Elements(2))
        );
    }

    #[test]
    fn finding_10_an_announced_length_is_believed() {
        let body = SdkBody::from(vec![b'x'; 65]);
        let mut body = std::pin::pin!(Body::new(body, MOST, pending(), TIME));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Err(error))) = body.as_mut().poll_frame(&mut context) else {
            panic!("it was read");
        };
        assert_eq!(
            error.to_string(),
            "the server's answer has more than 64 bytes"
        );
    }

    #[test]
    fn finding_10_an_answer_that_takes_too_long_ends() {
        let error = read(&["<a>"], ready(())).unwrap_err();
        assert_eq!(error.to_string(), "the server's answer took more than 60 s");
    }
}
