//! What the double is started with. In JSON and as options of the program, durations are seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The access key that the server knows unless [`Settings`] name another: that of the tests' S3 server, so that a test has one.
pub const ACCESS_KEY: &str = "AKIATESTOFBUNDLES";

/// Its secret key; tests look for it in everything that is printed.
pub const SECRET_KEY: &str = "rather-secret/key+of=tests";

/// The account that the access key belongs to.
pub const ACCOUNT: &str = "123456789012";

/// The ID of the only customer managed key, in each region, unless [`Settings`] name others.
pub const KMS_KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

/// How the double behaves; [`Settings::default`] is AWS with fast completion and no faults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The port on 127.0.0.1; 0 is any.
    pub port: u16,
    /// The folder of the snapshots' files; a temporary one without it.
    pub store: Option<PathBuf>,
    /// The access key.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    /// Its account, 12 digits.
    pub account: String,
    /// The regions that there are.
    pub regions: Vec<String>,
    /// The roles that can be assumed.
    pub roles: Vec<Role>,
    /// The customer managed keys that exist, in each region.
    pub kms_keys: Vec<KmsKey>,
    /// The name of the key with which EBS encrypts where none is named; AWS's own without it.
    pub default_kms_key: Option<String>,
    /// Quotas of the account that are not AWS's default, by their codes: what Service Quotas tells. Nothing enforces them.
    pub service_quotas: BTreeMap<String, f64>,
    /// Whether accounts encrypt every new snapshot.
    pub encryption_by_default: bool,
    /// Actions that are not permitted, by name, such as `RegisterImage`.
    pub denied: Vec<String>,
    /// How long a snapshot stays pending after CompleteSnapshot.
    #[serde(with = "seconds")]
    pub completes_after: Duration,
    /// How long a registered image stays pending.
    #[serde(with = "seconds")]
    pub available_after: Duration,
    /// How long an image's copy stays pending.
    #[serde(with = "seconds")]
    pub copied_after: Duration,
    /// How long a new snapshot is unknown to everything but StartSnapshot.
    #[serde(with = "seconds")]
    pub snapshot_visible_after: Duration,
    /// How long a new image is unknown to everything but RegisterImage.
    #[serde(with = "seconds")]
    pub image_visible_after: Duration,
    /// What lasts a minute of StartSnapshot's Timeout.
    #[serde(with = "seconds")]
    pub minute: Duration,
    /// How long a block token can be used; 7 days at AWS.
    #[serde(with = "seconds")]
    pub block_token_life: Duration,
    /// How long a page token can be used; 60 minutes at AWS.
    #[serde(with = "seconds")]
    pub page_token_life: Duration,
    /// Lists blocks in pages of which some are short and some empty, which AWS documents to be possible.
    pub short_pages: bool,
    /// How long each answer takes at least.
    #[serde(with = "seconds")]
    pub latency: Duration,
    /// The folder of an S3 server whose buckets are folders: the manifest that RegisterImage names must be there. Without it, any is.
    pub buckets: Option<PathBuf>,
    /// Requests a second.
    pub quotas: Quotas,
    /// What fails.
    pub faults: Faults,
    /// Where chance begins: of faults, IDs and noise.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            store: None,
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            account: ACCOUNT.to_owned(),
            regions: ["us-east-1", "us-west-2", "eu-west-1"]
                .map(str::to_owned)
                .to_vec(),
            roles: Vec::new(),
            kms_keys: vec![KmsKey::default()],
            default_kms_key: None,
            service_quotas: BTreeMap::new(),
            encryption_by_default: false,
            denied: Vec::new(),
            completes_after: Duration::from_millis(200),
            available_after: Duration::ZERO,
            copied_after: Duration::from_millis(200),
            snapshot_visible_after: Duration::ZERO,
            image_visible_after: Duration::ZERO,
            minute: Duration::from_secs(60),
            block_token_life: Duration::from_secs(7 * 86_400),
            page_token_life: Duration::from_secs(3600),
            short_pages: false,
            latency: Duration::ZERO,
            buckets: None,
            quotas: Quotas::default(),
            faults: Faults::default(),
            seed: 1,
        }
    }
}

/// A role that [`Settings::account`] may assume.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::ACCOUNT:role/NAME`.
    pub arn: String,
    /// The ExternalId that its trust policy asks for.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// A customer managed key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KmsKey {
    /// Its ID.
    pub id: String,
    /// Its aliases, without `alias/`.
    pub aliases: Vec<String>,
    /// `Enabled`, `Disabled`, `PendingDeletion` …
    pub state: String,
    /// `SYMMETRIC_DEFAULT`, `RSA_2048` …
    pub spec: String,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY` …
    pub usage: String,
}

impl Default for KmsKey {
    fn default() -> Self {
        Self {
            id: KMS_KEY.to_owned(),
            aliases: Vec::new(),
            state: "Enabled".to_owned(),
            spec: "SYMMETRIC_DEFAULT".to_owned(),
            usage: "ENCRYPT_DECRYPT".to_owned(),
        }
    }
}

/// Requests a second, each a token bucket; those of AWS by default. 0 is without limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// PutSnapshotBlock for one snapshot.
    pub put_snapshot: f64,
    /// PutSnapshotBlock for an account in a region.
    pub put_account: f64,
    /// GetSnapshotBlock for one snapshot.
    pub get_snapshot: f64,
    /// GetSnapshotBlock for an account in a region.
    pub get_account: f64,
    /// StartSnapshot for an account in a region.
    pub start: f64,
    /// CompleteSnapshot for an account in a region.
    pub complete: f64,
    /// ListSnapshotBlocks and ListChangedBlocks, each for an account in a region.
    pub list: f64,
    /// EC2's actions for an account in a region. AWS has a number for each action.
    pub ec2: f64,
    /// How many seconds of a rate may come at once. AWS does not say.
    pub burst: f64,
    /// Snapshots of an account in a region that may be pending.
    pub pending: usize,
    /// Copies of snapshots to a region that may be pending.
    pub copies: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            put_snapshot: 1000.0,
            put_account: 1000.0,
            get_snapshot: 1000.0,
            get_account: 1000.0,
            start: 10.0,
            complete: 10.0,
            list: 50.0,
            ec2: 100.0,
            burst: 1.0,
            pending: 100,
            copies: 20,
        }
    }
}

/// What fails by chance: percentages of all requests, of which each meets at most one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Answered with status 500, and not done.
    pub error: f64,
    /// Throttled, and not done: EBS with ACCOUNT_THROTTLED or RESOURCE_LEVEL_THROTTLE, EC2 with RequestLimitExceeded.
    pub throttle: f64,
    /// Not done, and the connection is reset.
    pub reset: f64,
    /// Done, and the connection is reset before the answer.
    pub lost: f64,
    /// Done, and the connection is reset in the middle of the answer's body.
    pub cut: f64,
    /// Done after [`Faults::stall_for`].
    pub stall: f64,
    /// How long a stalled request waits; 3 seconds if zero.
    #[serde(with = "seconds")]
    pub stall_for: Duration,
    /// Not done and never answered.
    pub never: f64,
    /// Only these actions, by name; all if empty.
    pub only: Vec<String>,
}

/// How a request can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// See [`Faults::error`].
    Error,
    /// See [`Faults::throttle`].
    Throttle,
    /// See [`Faults::reset`].
    Reset,
    /// See [`Faults::lost`].
    Lost,
    /// See [`Faults::cut`].
    Cut,
    /// See [`Faults::stall`].
    Stall,
    /// See [`Faults::never`].
    Never,
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}
