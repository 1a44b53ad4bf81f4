//! What tests of the double of EBS and EC2 share.

use std::time::Duration;

use ebs_server::{BLOCK, EbsServer, Quotas, Settings};
use openssl::base64::encode_block;
use openssl::sha::sha256;
use serde_json::{Value, json};

use crate::boto::Boto;
use crate::text;

/// A server, and boto3 as its client.
pub fn start(settings: Settings) -> (EbsServer, Boto) {
    let server = EbsServer::start(settings);
    let boto = Boto::start(&server.url());
    (server, boto)
}

/// Completes at once, and lets any number of snapshots begin.
pub fn quick() -> Settings {
    Settings {
        quotas: Quotas {
            start: 0.0,
            complete: 0.0,
            ..Quotas::default()
        },
        completes_after: Duration::ZERO,
        copied_after: Duration::ZERO,
        ..Settings::default()
    }
}

/// The SHA-256 of a block that is one byte again and again.
pub fn digest(byte: u8) -> [u8; 32] {
    sha256(&vec![byte; BLOCK])
}

/// PutSnapshotBlock's parameters for a block that is one byte again and again.
pub fn put(snapshot: &str, index: u32, byte: u8) -> Value {
    json!({
        "SnapshotId": snapshot,
        "BlockIndex": index,
        "BlockData": {"$byte": byte, "$times": BLOCK},
        "DataLength": BLOCK,
        "Checksum": encode_block(&digest(byte)),
        "ChecksumAlgorithm": "SHA256",
    })
}

/// Parameters with other values; null takes one out.
pub fn with(mut parameters: Value, others: Value) -> Value {
    let fields = parameters.as_object_mut().unwrap();
    for (name, value) in others.as_object().unwrap() {
        if value.is_null() {
            let _ = fields.remove(name);
        } else {
            let _ = fields.insert(name.clone(), value.clone());
        }
    }
    parameters
}

/// StartSnapshot for 1 GiB; gives the ID.
pub fn begin(boto: &mut Boto, more: Value) -> String {
    let parameters = with(json!({"VolumeSize": 1}), more);
    let answer = boto.ok("ebs", "start_snapshot", parameters);
    text(&answer["SnapshotId"]).to_owned()
}

/// A completed snapshot of 1 GiB whose block 0 is `byte`.
pub fn completed(boto: &mut Boto, byte: u8, more: Value) -> String {
    let snapshot = begin(boto, more);
    let _ = boto.ok("ebs", "put_snapshot_block", put(&snapshot, 0, byte));
    let parameters = json!({"SnapshotId": snapshot, "ChangedBlocksCount": 1});
    let _ = boto.ok("ebs", "complete_snapshot", parameters);
    snapshot
}

/// RegisterImage's parameters.
pub fn image(name: &str, snapshot: &str) -> Value {
    json!({
        "Name": name,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    })
}

/// RegisterImage; gives the ID.
pub fn register(boto: &mut Boto, name: &str, snapshot: &str) -> String {
    let answer = boto.ok("ec2", "register_image", image(name, snapshot));
    text(&answer["ImageId"]).to_owned()
}

/// The status, the code (`done` without one) and the reason of what [`Boto::call`] gives.
pub fn refusal(result: &Value) -> (u64, &str, &str) {
    let status = result["status"].as_u64().unwrap();
    let reason = result["reason"].as_str().unwrap_or_default();
    (status, result["code"].as_str().unwrap_or("done"), reason)
}
