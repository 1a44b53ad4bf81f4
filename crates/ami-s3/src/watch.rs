//! Additions to every request of the SDK: Content-MD5, who pays, and a count of the bytes transferred.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use openssl::base64::encode_block;
use openssl::hash::{MessageDigest, hash};

/// The bytes that one try has transferred. They are subtracted again if it fails.
#[derive(Debug)]
pub(crate) struct Moved {
    bytes: AtomicU64,
    /// The bytes of all operations.
    total: Arc<AtomicU64>,
}

impl Moved {
    pub(crate) fn new(total: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(0),
            total,
        })
    }

    /// Counts bytes.
    pub(crate) fn add(&self, count: usize) {
        let count = count as u64;
        let _ = self.bytes.fetch_add(count, Ordering::Relaxed);
        let _ = self.total.fetch_add(count, Ordering::Relaxed);
    }

    /// Subtracts the bytes of a failed try.
    pub(crate) fn undo(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        let _ = self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Watches the requests of one try.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Counts the bytes.
    pub(crate) moved: Arc<Moved>,
    /// Whether the request says that whoever sends it pays.
    pub(crate) requester_pays: bool,
}

#[dyn_dispatch_hint]
impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    /// Old servers require `Content-MD5` on requests with a body.
    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().unwrap_or_default();
        if !body.is_empty() && request.headers().get("content-md5").is_none() {
            let digest = encode_block(&hash(MessageDigest::md5(), body)?);
            let _ = request.headers_mut().insert("content-md5", digest);
        }
        if self.requester_pays {
            let headers = request.headers_mut();
            let _ = headers.insert("x-amz-request-payer", "requester");
        }
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if request.body().is_streaming() {
            let moved = self.moved.clone();
            let body = std::mem::replace(request.body_mut(), SdkBody::taken());
            let counted = body.map(move |inner| {
                let moved = moved.clone();
                SdkBody::from_body_1_x(Counted { inner, moved })
            });
            *request.body_mut() = counted;
        }
        Ok(())
    }
}

/// A body whose bytes are counted as they are sent.
struct Counted {
    inner: SdkBody,
    moved: Arc<Moved>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.moved.add(data.len());
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

    #[test]
    fn the_bytes_of_a_failed_try_do_not_count() {
        let total = Arc::<AtomicU64>::default();
        let (one, other) = (Moved::new(total.clone()), Moved::new(total.clone()));
        one.add(5);
        other.add(7);
        one.undo();
        one.undo();
        assert_eq!(total.load(Ordering::Relaxed), 7);
    }
}
