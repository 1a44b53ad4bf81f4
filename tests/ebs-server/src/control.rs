//! What a program beside the double can ask of it, without a signature: `GET /_double/log`, `/_double/snapshots`, `/_double/images`;
//! `POST /_double/faults` with faults in JSON; `POST /_double/export?snapshot=…&to=PATH&reading=noise|zeros` writes a volume as a file.

use std::path::Path;

use hyper::http::request::Parts;
use serde::Serialize;
use serde_json::json;

use crate::answer::{Answer, Received};
use crate::blocks::Reading;
use crate::ebs::query;
use crate::image::ImageRecord;
use crate::settings::Faults;
use crate::snapshot::SnapshotRecord;
use crate::world::World;

impl World {
    pub(crate) fn snapshot_records(&self) -> Vec<SnapshotRecord> {
        let snapshots: Vec<_> = self.things.lock().snapshots.values().cloned().collect();
        snapshots.iter().map(|snapshot| snapshot.record()).collect()
    }

    pub(crate) fn image_records(&self) -> Vec<ImageRecord> {
        self.things.lock().images.values().cloned().collect()
    }

    /// Writes the volume of a snapshot, in whatever state, as a file.
    pub(crate) fn export(&self, id: &str, to: &Path, reading: Reading) -> std::io::Result<()> {
        let things = self.things.lock();
        let mut all = things.snapshots.values();
        let found = all.find(|snapshot| snapshot.id == id).cloned();
        drop(things);
        let snapshot = found.ok_or(std::io::ErrorKind::NotFound)?;
        let seed = self.settings.seed;
        snapshot
            .blocks
            .export(snapshot.volume_size, to, reading, seed)
    }
}

pub(crate) fn answer(world: &World, name: &str, parts: &Parts, received: &Received) -> Answer {
    let parameters = query(parts);
    match (parts.method.as_str(), name) {
        ("GET", "log") => shown(&world.log.log()),
        ("DELETE", "log") => {
            world.log.clear();
            shown(&json!({}))
        }
        ("GET", "snapshots") => shown(&world.snapshot_records()),
        ("GET", "images") => shown(&world.image_records()),
        ("POST", "faults") => match serde_json::from_slice::<Faults>(&received.bytes()) {
            Ok(faults) => {
                world.faults.lock().faults = faults;
                shown(&json!({}))
            }
            Err(error) => refused(&error.to_string()),
        },
        ("POST", "export") => {
            let word = |name: &str| parameters.get(name).map_or("", String::as_str);
            let reading = match word("reading") {
                "noise" => Reading::Noise,
                "zeros" => Reading::Zeros,
                _ => return refused("reading=noise or reading=zeros is needed"),
            };
            match world.export(word("snapshot"), Path::new(word("to")), reading) {
                Ok(()) => shown(&json!({})),
                Err(error) => refused(&error.to_string()),
            }
        }
        _ => refused("no such thing"),
    }
}

fn shown(value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value);
    Answer::json(200, text.expect("records have keys of text"))
}

fn refused(message: &str) -> Answer {
    Answer::json(400, json!({"Message": message}).to_string())
}
