//! Everything that the double knows: all accounts, regions, snapshots and images.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::http::request::Parts;
use parking_lot::Mutex;
use serde_json::Value;

use crate::buckets::{Buckets, Need};
use crate::image::ImageRecord;
use crate::log::Recorder;
use crate::settings::{Fault, Faults, Settings};
use crate::sigv4::{Refusal, Signature};
use crate::snapshot::Snapshot;

pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) folder: PathBuf,
    pub(crate) log: Recorder,
    pub(crate) buckets: Buckets,
    pub(crate) faults: Mutex<FaultPlan>,
    pub(crate) things: Mutex<Things>,
}

/// What has been made.
#[derive(Default)]
pub(crate) struct Things {
    /// By region and ID.
    pub(crate) snapshots: BTreeMap<(String, String), Arc<Snapshot>>,
    /// By region and ID.
    pub(crate) images: BTreeMap<(String, String), ImageRecord>,
    /// StartSnapshot's client tokens, by account, region and token: the request, and its answer.
    pub(crate) start_tokens: HashMap<(String, String, String), (Value, String)>,
    /// CopyImage's client tokens, by the same: the request, and the image.
    pub(crate) copy_tokens: HashMap<(String, String, String), (String, String)>,
    /// By access key.
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) chance: Option<fastrand::Rng>,
}

/// Temporary credentials.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) secret_key: String,
    pub(crate) token: String,
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) expires: SystemTime,
}

/// Who asks, and where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Faults by chance, and those that were ordered.
pub(crate) struct FaultPlan {
    pub(crate) faults: Faults,
    /// For requests of an action: how many are left alone first, how many fail then.
    pub(crate) ordered: Vec<Ordered>,
    pub(crate) chance: fastrand::Rng,
}

pub(crate) struct Ordered {
    pub(crate) action: String,
    pub(crate) fault: Fault,
    pub(crate) after: usize,
    pub(crate) count: usize,
}

impl FaultPlan {
    /// What a request of an action meets.
    pub(crate) fn draw(&mut self, action: &str) -> Option<Fault> {
        for ordered in self.ordered.iter_mut().filter(|o| o.action == action) {
            if ordered.after > 0 {
                ordered.after -= 1;
            } else if ordered.count > 0 {
                ordered.count -= 1;
                return Some(ordered.fault);
            }
        }
        let faults = &self.faults;
        if !faults.only.is_empty() && !faults.only.iter().any(|only| only == action) {
            return None;
        }
        let mut left = self.chance.f64() * 100.0;
        let kinds = [
            (faults.error, Fault::Error),
            (faults.throttle, Fault::Throttle),
            (faults.reset, Fault::Reset),
            (faults.lost, Fault::Lost),
            (faults.cut, Fault::Cut),
            (faults.stall, Fault::Stall),
            (faults.never, Fault::Never),
        ];
        kinds.into_iter().find_map(|(percent, fault)| {
            left -= percent;
            (left < 0.0).then_some(fault)
        })
    }

    pub(crate) fn stall_for(&self) -> Duration {
        match self.faults.stall_for {
            Duration::ZERO => Duration::from_secs(3),
            other => other,
        }
    }
}

impl Things {
    /// A new ID: a prefix, `0`, and 16 hex digits.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.number())
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.chance.get_or_insert_default().u64(..)
    }

    pub(crate) fn snapshot(&self, region: &str, id: &str) -> Option<Arc<Snapshot>> {
        self.snapshots
            .get(&(region.to_owned(), id.to_owned()))
            .cloned()
    }

    pub(crate) fn images_with<'a>(
        &'a self,
        snapshot: &'a str,
    ) -> impl Iterator<Item = &'a ImageRecord> {
        self.images
            .values()
            .filter(move |image| image.snapshots().any(|id| id == snapshot))
    }
}

impl World {
    pub(crate) fn new(settings: Settings, folder: PathBuf) -> Self {
        let chance = fastrand::Rng::with_seed(settings.seed);
        let faults = FaultPlan {
            faults: settings.faults.clone(),
            ordered: Vec::new(),
            chance: fastrand::Rng::with_seed(settings.seed ^ 0x5eed),
        };
        let things = Things {
            chance: Some(chance),
            ..Things::default()
        };
        Self {
            settings,
            folder,
            log: Recorder::new(),
            buckets: Buckets::default(),
            faults: Mutex::new(faults),
            things: Mutex::new(things),
        }
    }

    /// Who signed a request.
    pub(crate) fn caller(
        &self,
        parts: &Parts,
        digest: &[u8],
        services: &[&str],
        may_be_unsigned: bool,
    ) -> Result<Caller, Refusal> {
        let signature = Signature::read(parts)?;
        if !services.contains(&signature.service.as_str()) {
            return Err(Refusal::Scope(
                "Credential should be scoped to correct service.",
            ));
        }
        if !self.settings.regions.contains(&signature.region) {
            return Err(Refusal::Scope(
                "Credential should be scoped to a valid region.",
            ));
        }
        let token = parts.headers.get("x-amz-security-token");
        let (secret, account, arn) = if signature.access_key == self.settings.access_key {
            if token.is_some() {
                return Err(Refusal::UnknownKey);
            }
            let account = self.settings.account.clone();
            let arn = format!("arn:aws:iam::{account}:user/test");
            (self.settings.secret_key.clone(), account, arn)
        } else {
            let things = self.things.lock();
            let session = things.sessions.get(&signature.access_key);
            let session = session.filter(|session| {
                token.is_some_and(|token| token.as_bytes() == session.token.as_bytes())
            });
            let session = session.cloned().ok_or(Refusal::UnknownKey)?;
            if session.expires < SystemTime::now() {
                return Err(Refusal::ExpiredToken);
            }
            (session.secret_key, session.account, session.arn)
        };
        signature.verify(parts, digest, may_be_unsigned, &secret)?;
        Ok(Caller {
            account,
            arn,
            region: signature.region,
            service: signature.service,
        })
    }

    /// A bucket of the caller's account in its region.
    pub(crate) fn account_bucket(&self, caller: &Caller, name: &str, rate: f64) -> Need {
        Need {
            name: format!("{name} {} {}", caller.account, caller.region),
            rate,
        }
    }

    /// Takes a token of each bucket, or gives the first that has none.
    pub(crate) fn take(&self, needs: &[Need]) -> Result<(), usize> {
        self.buckets.take(needs, self.settings.quotas.burst)
    }
}
