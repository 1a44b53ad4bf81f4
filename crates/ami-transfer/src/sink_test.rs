//! Bundles in a bucket pass the tests that every sink must pass.

use std::collections::BTreeMap;
use std::fs;

use ami_parts::conformance::{PartSinks, check_sink};
use ami_parts::{manifest_file_name, part_file_name};
use ami_s3::{Acl, Bucket, Connection};
use s3_server::{Rules, serve_by};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::unbounded_channel;

use crate::link::Link;
use crate::older::OlderManifests;
use crate::sending::Sending;
use crate::sink::BucketSink;
use crate::test_server::settings;

const BUCKET: &str = "bundles.test";

/// How many parts the longest bundle of the failing ones can have.
const MOST_PARTS: usize = 4;

struct InBucket {
    runtime: Runtime,
    link: Link,
    bucket: Bucket,
    rules: Rules,
    store: TempDir,
    begun: Vec<Sending>,
}

impl InBucket {
    fn new() -> Self {
        let (store, rules) = (tempfile::tempdir().unwrap(), Rules::default());
        fs::create_dir(store.path().join(BUCKET)).unwrap();
        let address = serve_by(rules.clone(), store.path(), 0);
        let settings = settings(address);
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let (connection, _) = runtime.block_on(Connection::open(&settings)).unwrap();
        let bucket = connection.bucket(BUCKET.parse().unwrap());
        let (events, _) = unbounded_channel();
        Self {
            runtime,
            link: Link { connection, events },
            bucket,
            rules,
            store,
            begun: Vec::new(),
        }
    }

    /// Waits until nothing is sent any more.
    fn settle(&mut self) {
        for sending in self.begun.drain(..) {
            // The sink has told of an error.
            let _ = self.runtime.block_on(sending.end());
        }
        self.rules.refuse(None);
    }
}

impl PartSinks for InBucket {
    type Sink = BucketSink;

    fn sink(&mut self, bundle: &str) -> BucketSink {
        self.settle();
        let (bucket, link) = (&self.bucket, &self.link);
        let (sink, sending) = self.runtime.block_on(async {
            let manifest = manifest_file_name(bundle);
            let older = OlderManifests::find(bucket, link, &manifest, bundle);
            Sending::begin(bucket, Acl::AwsExecRead, older.await.unwrap(), link)
        });
        self.begun.push(sending);
        sink
    }

    fn sink_that_fails(&mut self, bundle: &str, part: usize) -> BucketSink {
        let sink = self.sink(bundle);
        self.rules
            .refuse(Some(part_file_name(bundle, part, MOST_PARTS)));
        sink
    }

    fn replaces_at_once(&self) -> bool {
        true
    }

    fn files(&mut self) -> BTreeMap<String, Vec<u8>> {
        self.settle();
        let entries = fs::read_dir(self.store.path().join(BUCKET)).unwrap();
        let files = entries.map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        });
        // The server has files of its own beside the objects.
        files.filter(|(name, _)| !name.starts_with('.')).collect()
    }
}

#[test]
fn bundles_in_a_bucket_pass() {
    check_sink(&mut InBucket::new());
}
