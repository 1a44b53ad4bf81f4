//! HTTP: from a connection to an answer, with the faults on the way.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::answer::{Answer, AnswerBody, Received};
use crate::control;
use crate::ebs::Call;
use crate::ec2::{Parameters, QueryService};
use crate::error::Refused;
use crate::json_rpc;
use crate::log::Record;
use crate::settings::Fault;
use crate::sigv4::Refusal;
use crate::snapshot::Snapshot;
use crate::world::World;

/// Serves a connection until it ends.
pub(crate) async fn connection(world: Arc<World>, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    // A second descriptor of the socket, to say that closing it resets the connection.
    let Ok(control) = socket.as_fd().try_clone_to_owned() else {
        return;
    };
    let control = Arc::new(control);
    let service = service_fn(|request| {
        let (world, control) = (world.clone(), control.clone());
        async move { answer(&world, &control, request).await }
    });
    let mut server = http1::Builder::new();
    let _ = server.max_buf_size(1 << 20);
    // A client that goes away is no problem of the server's.
    let _ = server.serve_connection(TokioIo::new(socket), service).await;
}

fn reset(control: &OwnedFd) -> io::Error {
    let _ = rustix::net::sockopt::set_socket_linger(control, Some(Duration::ZERO));
    io::ErrorKind::ConnectionReset.into()
}

/// What a request is for.
enum Route {
    Ebs(Call),
    Json(json_rpc::Call),
    Query,
    Unknown,
}

/// A PutSnapshotBlock while it is in flight.
struct Flight {
    snapshot: Arc<Snapshot>,
    block: u32,
    is_alone: bool,
}

impl Flight {
    fn begin(world: &World, call: &Call) -> Option<Self> {
        let Call::Put { snapshot, .. } = call else {
            return None;
        };
        let things = world.things.lock();
        let mut all = things.snapshots.values();
        let snapshot = all.find(|found| found.id == *snapshot)?.clone();
        drop(things);
        let block = call.block()?;
        let mut inner = snapshot.inner.lock();
        let is_alone = inner.in_flight.insert(block);
        let count = inner.in_flight.len();
        drop(inner);
        world.log.in_flight(&snapshot.id, count);
        Some(Self {
            snapshot,
            block,
            is_alone,
        })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_alone {
            let _ = self.snapshot.inner.lock().in_flight.remove(&self.block);
        }
    }
}

async fn answer(
    world: &World,
    control: &OwnedFd,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, io::Error> {
    let at = world.log.now();
    let (parts, body) = request.into_parts();
    if let Some(name) = parts.uri.path().strip_prefix("/_double/") {
        let name = name.to_owned();
        let received = Received::of(body).await.ok_or_else(|| reset(control))?;
        return Ok(control::answer(world, &name, &parts, &received).into_response(false));
    }
    let route = match Call::of(&parts.method, parts.uri.path()) {
        Some(call) => Route::Ebs(call),
        None if parts.uri.path() == "/" => match json_rpc::Call::of(&parts) {
            Some(call) => Route::Json(call),
            None => Route::Query,
        },
        None => Route::Unknown,
    };
    let flight = match &route {
        Route::Ebs(call) => Flight::begin(world, call),
        _ => None,
    };
    let received = Received::of(body).await.ok_or_else(|| reset(control))?;
    let mut record = Record {
        at,
        until: at,
        action: String::new(),
        region: String::new(),
        snapshot: None,
        block: None,
        status: 0,
        code: None,
        reason: None,
        fault: None,
    };
    let parameters = Parameters::read(&parts, &received);
    match &route {
        Route::Ebs(call) => {
            record.action = call.action().to_owned();
            record.snapshot = call.snapshot().map(str::to_owned);
            record.block = call.block();
        }
        Route::Json(call) => record.action = call.action.clone(),
        Route::Query => record.action = parameters.action(),
        Route::Unknown => {}
    }
    let (fault, stall) = {
        let mut plan = world.faults.lock();
        (plan.draw(&record.action), plan.stall_for())
    };
    record.fault = fault;
    let wait = match fault {
        Some(Fault::Stall) => stall + world.settings.latency,
        _ => world.settings.latency,
    };
    if fault == Some(Fault::Never) {
        // For the service there was no such request, so it is not in the way of the next.
        drop(flight);
        record.until = world.log.now();
        world.log.add(record);
        return std::future::pending().await;
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if fault == Some(Fault::Reset) {
        record.until = world.log.now();
        world.log.add(record);
        return Err(reset(control));
    }
    let is_alone = flight.as_ref().is_none_or(|flight| flight.is_alone);
    let answer = perform(
        world,
        &route,
        &parts,
        &received,
        &parameters,
        is_alone,
        &mut record,
    );
    drop(flight);
    record.status = answer.status;
    record.until = world.log.now();
    world.log.add(record);
    match fault {
        Some(Fault::Lost) => Err(reset(control)),
        Some(Fault::Cut) => {
            let _ = rustix::net::sockopt::set_socket_linger(control, Some(Duration::ZERO));
            Ok(answer.into_response(true))
        }
        _ => Ok(answer.into_response(false)),
    }
}

fn perform(
    world: &World,
    route: &Route,
    parts: &Parts,
    received: &Received,
    parameters: &Parameters,
    is_alone: bool,
    record: &mut Record,
) -> Answer {
    let number = world.things.lock().number();
    let request = format!("{:08x}-0000-4000-8000-{number:016x}", number >> 32);
    let request = &request[..36];
    let services: &[&str] = match route {
        Route::Ebs(_) => &["ebs"],
        Route::Json(call) => &[call.service.name()],
        _ => &["ec2", "sts"],
    };
    let may_be_unsigned = matches!(route, Route::Ebs(Call::Put { .. }));
    let caller = world.caller(parts, &received.digest, services, may_be_unsigned);
    let service = match &caller {
        Ok(caller) => QueryService::of(&caller.service),
        Err(_) => parameters.service(),
    };
    let result = match (route, &caller) {
        (Route::Ebs(_), Err(refusal)) => Err(json_refusal(refusal).with_status(403)),
        (Route::Json(_), Err(refusal)) => Err(json_refusal(refusal)),
        (_, Err(refusal)) => Err(query_refusal(refusal, service)),
        (route, Ok(caller)) => {
            record.region = caller.region.clone();
            match (record.fault, route) {
                (Some(fault @ (Fault::Error | Fault::Throttle)), Route::Json(call)) => {
                    Err(call.service.fault(fault))
                }
                (Some(Fault::Error), Route::Ebs(_)) => Err(Refused::new(
                    "InternalServerException",
                    "An internal error has occurred.",
                )
                .with_status(500)),
                (Some(Fault::Error), _) => {
                    let message = "An internal error has occurred";
                    Err(Refused::new("InternalError", message).with_status(500))
                }
                (Some(Fault::Throttle), Route::Ebs(_)) => {
                    let is_account =
                        number.is_multiple_of(2) || !matches!(route, Route::Ebs(Call::Put { .. }));
                    let reasons = ["RESOURCE_LEVEL_THROTTLE", "ACCOUNT_THROTTLED"];
                    Err(Refused::throttled(reasons[usize::from(is_account)]))
                }
                (Some(Fault::Throttle), _) => Err(Refused::new(
                    "RequestLimitExceeded",
                    "Request limit exceeded.",
                )
                .with_status(503)),
                (_, Route::Ebs(call)) => world.ebs(call, parts, received, caller, is_alone),
                (_, Route::Json(call)) => world.json(call, parts, received, caller),
                (_, Route::Query) => world.query(service, parameters, caller, request),
                (_, Route::Unknown) => {
                    Err(Refused::new("UnknownOperationException", "").with_status(404))
                }
            }
        }
    };
    let answer = result.unwrap_or_else(|refused| {
        record.code = Some(refused.code.to_owned());
        record.reason = refused.reason.map(str::to_owned);
        match (route, service) {
            (Route::Ebs(_) | Route::Unknown, _) => Answer::json(refused.status, refused.to_json())
                .with("x-amzn-ErrorType", refused.code.to_owned()),
            (Route::Json(_), _) => Answer::json_rpc(refused.status, refused.to_json_rpc()),
            (_, QueryService::Ec2) => Answer::xml(refused.status, refused.to_ec2_xml(request)),
            (_, QueryService::Sts) => Answer::xml(refused.status, refused.to_sts_xml(request)),
        }
    });
    answer.with("x-amzn-RequestId", request.to_owned())
}

/// How a service with JSON refuses a signature: EBS with status 403, others with 400.
fn json_refusal(refusal: &Refusal) -> Refused {
    let (code, message) = match refusal {
        Refusal::Missing => (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        Refusal::Incomplete(what) => ("IncompleteSignatureException", *what),
        Refusal::Scope(message) => ("InvalidSignatureException", *message),
        Refusal::UnknownKey => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Refusal::ExpiredToken => (
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        Refusal::Expired => ("InvalidSignatureException", "Signature expired"),
        Refusal::WrongSignature => (
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        ),
    };
    Refused::new(code, message)
}

/// How EC2 and STS do.
fn query_refusal(refusal: &Refusal, service: QueryService) -> Refused {
    let is_ec2 = service == QueryService::Ec2;
    let (code, status, message) = match refusal {
        Refusal::Missing if is_ec2 => (
            "MissingParameter",
            400,
            "The request must contain the parameter AWSAccessKeyId",
        ),
        Refusal::Missing => (
            "MissingAuthenticationToken",
            403,
            "Request is missing Authentication Token",
        ),
        Refusal::Incomplete(what) => ("IncompleteSignature", 400, *what),
        Refusal::Scope(message) => ("SignatureDoesNotMatch", 403, *message),
        Refusal::UnknownKey if is_ec2 => (
            "AuthFailure",
            401,
            "AWS was not able to validate the provided access credentials",
        ),
        Refusal::UnknownKey => (
            "InvalidClientTokenId",
            403,
            "The security token included in the request is invalid.",
        ),
        Refusal::ExpiredToken if is_ec2 => ("RequestExpired", 400, "Request has expired."),
        Refusal::ExpiredToken => (
            "ExpiredToken",
            403,
            "The security token included in the request is expired",
        ),
        Refusal::Expired if is_ec2 => ("RequestExpired", 400, "Request has expired."),
        Refusal::Expired => ("SignatureDoesNotMatch", 403, "Signature expired"),
        Refusal::WrongSignature => (
            "SignatureDoesNotMatch",
            403,
            "The request signature we calculated does not match the signature you provided.",
        ),
    };
    Refused::new(code, message).with_status(status)
}
