//! Reading parts from a server.

use std::fs;
use std::path::PathBuf;

use ami_manifest::Sha1Digest;
use ami_parts::PartSource;
use ami_parts::conformance::{PartSources, StoredPart, check_source};
use ami_s3::{Bucket, Connection};
use sha1::{Digest, Sha1};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::error::Error;
use crate::held_parts::HeldPart;
use crate::remote_parts::{MOST_PIECES, PIECE, Piece, Reading, RemoteParts, WHOLE, pieces_of};
use crate::test_server::settings;

/// A bucket on a server of its own.
struct InBucket {
    store: TempDir,
    runtime: Runtime,
    bucket: Bucket,
    alive: watch::Sender<()>,
}

impl InBucket {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("bucket")).unwrap();
        let address = s3_server::serve(store.path(), 0);
        let settings = settings(address);
        // Its threads run tasks while the tests' block.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (connection, _) = runtime.block_on(Connection::open(&settings)).unwrap();
        Self {
            store,
            runtime,
            bucket: connection.bucket("bucket".parse().unwrap()),
            alive: watch::Sender::new(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.path().join("bucket").join(name)
    }

    /// Stores a part, and looks it up.
    fn part(&self, name: &str, bytes: &[u8], sha1: [u8; 20]) -> HeldPart {
        fs::write(self.path(name), bytes).unwrap();
        HeldPart {
            name: name.to_owned(),
            digest: Sha1Digest(sha1),
            held: self
                .runtime
                .block_on(self.bucket.held("HEAD", name))
                .unwrap(),
        }
    }

    fn parts(&self, parts: Vec<HeldPart>) -> RemoteParts {
        RemoteParts::new(
            self.bucket.clone(),
            parts.into(),
            self.runtime.handle().clone(),
            self.alive.subscribe(),
        )
    }
}

impl PartSources for InBucket {
    type Source = RemoteParts;

    fn source(&mut self, parts: &[StoredPart]) -> RemoteParts {
        let named = |(index, stored): (usize, &StoredPart)| {
            let name = format!("part.{index}");
            // A part that is missing was there when it was looked up.
            let bytes = stored.bytes.as_deref().unwrap_or(b"missing");
            let part = self.part(&name, bytes, stored.sha1);
            if stored.bytes.is_none() {
                fs::remove_file(self.path(&name)).unwrap();
            }
            part
        };
        self.parts(parts.iter().enumerate().map(named).collect())
    }
}

#[test]
fn they_are_a_part_source() {
    check_source(&mut InBucket::new());
}

#[test]
fn large_parts_are_read_twice_and_others_once() {
    let readings = |size| {
        let pieces = pieces_of(3, size);
        let pieces = pieces.map(
            |Piece {
                 part,
                 reading,
                 range,
                 is_last,
             }| {
                assert_eq!(part, 3);
                (reading, range, is_last)
            },
        );
        pieces.collect::<Vec<_>>()
    };
    let only = Reading::Only;
    assert_eq!(readings(0), [(only, 0..0, true)]);
    assert_eq!(readings(1), [(only, 0..1, true)]);
    assert_eq!(readings(PIECE), [(only, 0..PIECE, true)]);
    assert_eq!(
        readings(2 * PIECE),
        [(only, 0..PIECE, false), (only, PIECE..2 * PIECE, true)]
    );
    assert_eq!(readings(WHOLE).len(), 4);
    let large = WHOLE + 1;
    let mut expected = Vec::new();
    for reading in [Reading::First, Reading::Second] {
        expected.extend([
            (reading, 0..PIECE, false),
            (reading, PIECE..2 * PIECE, false),
            (reading, 2 * PIECE..3 * PIECE, false),
            (reading, 3 * PIECE..large, true),
        ]);
    }
    assert_eq!(readings(large), expected);
}

#[test]
fn a_part_that_changes_after_it_was_looked_up_is_refused() {
    let place = InBucket::new();
    let part = place.part("a.part.0", b"first", Sha1::digest(b"other").into());
    // Even if it has the manifest's digest now.
    fs::write(place.path("a.part.0"), b"other").unwrap();
    let error = place.parts(vec![part]).read(&mut [0; 10]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Failed to download \"a.part.0\": it has changed since it was looked up"
    );
}

#[test]
fn a_damaged_part_is_named() {
    let place = InBucket::new();
    let part = place.part("a.part.0", b"bytes", [0; 20]);
    let error = place.parts(vec![part]).read(&mut [0; 10]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Failed to download \"a.part.0\": its SHA-1 is {}, the manifest says {}: what S3 has is damaged",
            hex::encode(Sha1::digest(b"bytes")),
            "0".repeat(40)
        )
    );
}

/// More parts than are fetched ahead.
fn many_parts(place: &InBucket) -> RemoteParts {
    let digest = Sha1::digest(b"bytes").into();
    let parts = (0..=MOST_PIECES).map(|index| place.part(&index.to_string(), b"bytes", digest));
    place.parts(parts.collect())
}

#[test]
fn reading_ends_with_the_bundle() {
    let place = InBucket::new();
    let mut parts = many_parts(&place);
    let mut buffer = [0; 5];
    assert_eq!(parts.read(&mut buffer).unwrap(), 5);
    drop(place.alive);
    let error = parts.read(&mut buffer).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
}

#[test]
fn reading_ends_with_the_runtime() {
    let place = InBucket::new();
    let mut parts = many_parts(&place);
    let mut buffer = [0; 5];
    assert_eq!(parts.read(&mut buffer).unwrap(), 5);
    place.runtime.shutdown_background();
    // What has been fetched by now may still be read.
    let read = (0..MOST_PIECES).find_map(|_| parts.read(&mut buffer).err());
    assert!(matches!(read, Some(Error::Interrupted)));
}
