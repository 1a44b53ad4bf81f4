//! What happens between a request and the SDK's answer: tries, their failures, bytes on their way.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ami_aws::{ServiceError, connection_problem};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use openssl::base64::encode_block;
use openssl::hash::{MessageDigest, hash};
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

use crate::redirect::{Redirect, redirect_of};

/// What a person may want to know while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A try failed, and another begins.
    Retrying {
        /// What failed, and why.
        reason: String,
    },
}

/// One operation's tries, however many requests of the SDK they are spread over.
#[derive(Debug)]
pub(crate) struct Tries {
    operation: String,
    made: AtomicU32,
    /// Why the last one failed.
    failure: Mutex<Option<String>>,
    /// Where the last answer sends us.
    redirect: Mutex<Option<Redirect>>,
    /// Bytes that the current try has moved.
    moved: AtomicU64,
    /// Bytes that all operations have moved.
    total: Arc<AtomicU64>,
    events: UnboundedSender<Event>,
}

impl Tries {
    pub(crate) fn new(
        operation: &str,
        total: Arc<AtomicU64>,
        events: UnboundedSender<Event>,
    ) -> Arc<Self> {
        Arc::new(Self {
            operation: operation.to_owned(),
            made: AtomicU32::new(0),
            failure: Mutex::default(),
            redirect: Mutex::default(),
            moved: AtomicU64::new(0),
            total,
            events,
        })
    }

    pub(crate) fn made(&self) -> u32 {
        self.made.load(Ordering::Relaxed)
    }

    /// Where the last answer sends the request, if it does.
    pub(crate) fn redirect(&self) -> Option<Redirect> {
        let redirect = self
            .redirect
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if redirect.is_some() {
            self.forget_last();
        }
        redirect
    }

    /// What is done again for a reason of its own is no further try.
    pub(crate) fn forget_last(&self) {
        let _ = self.made.fetch_sub(1, Ordering::Relaxed);
        let _ = self.take_failure();
    }

    pub(crate) fn failed(&self, reason: String) {
        debug!("{}: {reason}", self.operation);
        let moved = self.moved.swap(0, Ordering::Relaxed);
        let _ = self.total.fetch_sub(moved, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    fn take_failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn begins(&self) {
        let _ = self.made.fetch_add(1, Ordering::Relaxed);
        if let Some(reason) = self.take_failure() {
            let reason = format!("{}: {reason}", self.operation);
            // Where nobody listens, nobody wants to know.
            let _ = self.events.send(Event::Retrying { reason });
        }
    }

    /// Counts bytes that this try has moved.
    pub(crate) fn moves(&self, count: usize) {
        let count = count as u64;
        let _ = self.moved.fetch_add(count, Ordering::Relaxed);
        let _ = self.total.fetch_add(count, Ordering::Relaxed);
    }
}

/// Watches the requests of operations whose error is `E`.
pub(crate) struct Watch<E> {
    pub(crate) tries: Arc<Tries>,
    pub(crate) error: PhantomData<fn() -> E>,
}

impl<E> std::fmt::Debug for Watch<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

#[dyn_dispatch_hint]
impl<E> Intercept for Watch<E>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "Watch"
    }

    /// Old servers want `Content-MD5` where a request has a body.
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
        Ok(())
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.tries.begins();
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
            let tries = self.tries.clone();
            let body = std::mem::replace(request.body_mut(), SdkBody::taken());
            let counted = body.map(move |inner| {
                let tries = tries.clone();
                SdkBody::from_body_1_x(Counted { inner, tries })
            });
            *request.body_mut() = counted;
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Err(error)) = context.output_or_error() else {
            return Ok(());
        };
        let response = context.response();
        if let Some(redirect) = response.and_then(redirect_of) {
            *self
                .tries
                .redirect
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(redirect);
        }
        self.tries.failed(match (told::<E>(error), response) {
            (Some(error), Some(response)) => {
                let ServiceError {
                    code,
                    status,
                    message,
                } = ServiceError::new(error.code(), error.message(), response);
                format!("Server.{code}({status}): {message}")
            }
            _ => match error.as_connector_error() {
                Some(error) => connection_problem(error),
                None if error.is_timeout_error() => "no answer in time".to_owned(),
                None => "the answer cannot be read".to_owned(),
            },
        });
        Ok(())
    }
}

fn told<E: std::error::Error + Send + Sync + 'static>(
    error: &OrchestratorError<aws_smithy_runtime_api::client::interceptors::context::Error>,
) -> Option<&E> {
    error
        .as_operation_error()
        .and_then(|error| error.downcast_ref())
}

/// A body whose bytes are counted as they are sent.
struct Counted {
    inner: SdkBody,
    tries: Arc<Tries>,
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
            this.tries.moves(data.len());
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
