//! Sends what a [`BucketSink`] hands over, and deletes it again if the bundle is not completed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use ami_manifest::Sha1Digest;
use ami_s3::{Acl, Bucket, Content, Fingerprint};
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::debug;

use crate::error::Error;
use crate::link::{Link, joined};
use crate::observer::Event;
use crate::older::OlderManifests;
use crate::sink::{BucketSink, MadeFile, Order, PARTS_IN_MEMORY};

/// How long requests that are under way get to end by themselves when the rest is given up: what is then not stored will hardly be.
const GRACE: Duration = Duration::from_secs(2);

/// How often and with which pauses it is looked for what was given up on its way: S3, or a proxy before it, may have all of it by then, and
/// store it.
const LOOKS: u32 = 6;
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long it is tried to find out, and to delete, what was stored of a bundle that is given up.
const LONGEST_REMOVAL: Duration = Duration::from_secs(60);

/// A bundle that is being sent, in a task of its own.
pub(crate) struct Sending {
    task: JoinHandle<Result<(), Error>>,
    /// When it is dropped, the bundle is given up, unless it is complete.
    stop: oneshot::Sender<()>,
}

impl Sending {
    /// Begins; the parts and the manifest come from the sink.
    pub(crate) fn begin(
        bucket: &Bucket,
        acl: Acl,
        older: OlderManifests,
        link: &Link,
    ) -> (BucketSink, Self) {
        let (orders, ordered) = unbounded_channel();
        let (free, buffers) = mpsc::channel();
        for _ in 0..PARTS_IN_MEMORY {
            // The receiver is here.
            let _ = free.send(Vec::new());
        }
        let (stop, stopped) = oneshot::channel();
        let sender = Sender {
            target: Arc::new(Target {
                bucket: bucket.clone(),
                acl,
                older,
                files: Mutex::default(),
            }),
            events: link.events.clone(),
        };
        let task = tokio::spawn(sender.run(ordered, free, stopped));
        (BucketSink::new(orders, buffers), Self { task, stop })
    }

    /// Gives the bundle up, unless it is complete.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        let Self { task, stop } = self;
        drop(stop);
        joined(task.await)?
    }

    /// Waits until the manifest is stored or, if the sink was dropped before, until everything is deleted.
    ///
    /// # Errors
    /// Why something could not be stored. What was stored is deleted.
    pub(crate) async fn end(self) -> Result<(), Error> {
        // It is not stopped as long as this lives.
        let Self { task, stop: _stop } = self;
        joined(task.await)?
    }
}

/// Where the files go, and which were sent there.
struct Target {
    bucket: Bucket,
    acl: Acl,
    older: OlderManifests,
    files: Mutex<BTreeMap<String, Begun>>,
}

/// A file whose first request has been sent.
#[derive(Clone, Copy)]
struct Begun {
    print: Fingerprint,
    state: State,
}

/// How far a file has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its request has not ended. If that was given up, S3 may still store the file.
    OnItsWay,
    /// Its request has failed. The answer to it may have been lost.
    Failed,
    Stored,
}

impl Target {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Begun>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a part, and gives its buffer back. The manifest of an older bundle is deleted before one of its parts is replaced.
    async fn send_part(&self, part: MadeFile) -> Result<Vec<u8>, Error> {
        let digest = Sha1Digest(part.print.sha1);
        self.older.make_way(&part.name, digest).await?;
        self.send(part).await
    }

    /// Sends a file, and gives its buffer back.
    async fn send(&self, file: MadeFile) -> Result<Vec<u8>, Error> {
        let MadeFile { name, bytes, print } = file;
        let note = |state| self.files().insert(name.clone(), Begun { print, state });
        let _ = note(State::OnItsWay);
        let bytes = Bytes::from(bytes);
        let content = Content::Bytes(bytes.clone());
        let operation = format!("Failed to upload \"{name}\"");
        let put = self
            .bucket
            .put(&operation, &name, &content, &print, self.acl);
        let put = put.await;
        let _ = note(match put {
            Ok(_) => State::Stored,
            Err(_) => State::Failed,
        });
        put?;
        drop(content);
        Ok(bytes.into())
    }

    /// Whether S3 has exactly this content, although the request for it failed or was given up: the answer may have been lost.
    async fn holds(&self, file: &str, print: &Fingerprint) -> Result<bool, Error> {
        let operation = format!("Failed to look for \"{file}\"");
        Ok(self.bucket.holds(&operation, file, print).await?)
    }
}

struct Sender {
    target: Arc<Target>,
    events: UnboundedSender<Event>,
}

impl Sender {
    async fn run(
        self,
        mut orders: UnboundedReceiver<Order>,
        buffers: mpsc::Sender<Vec<u8>>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), Error> {
        let mut running = JoinSet::new();
        let result = tokio::select! {
            biased;
            _ = &mut stopped => Err(Error::Interrupted),
            result = self.carry_out(&mut orders, &buffers, &mut running) => result,
        };
        // The sink must not wait for a buffer that never comes.
        drop((orders, buffers));
        let (result, is_complete) = match result {
            Ok(None) => (Ok(()), false),
            Ok(Some((manifest, done))) => {
                let sent = self.publish(manifest, stopped).await;
                let is_complete = sent.is_ok();
                if is_complete {
                    // The sink waits for it.
                    let _ = done.send(());
                }
                (sent, is_complete)
            }
            Err(error) => (Err(error), false),
        };
        if !is_complete {
            let _ = timeout(GRACE, async {
                while running.join_next().await.is_some() {}
            })
            .await;
            running.shutdown().await;
            self.remove().await;
        }
        result
    }

    /// Sends parts until there is a manifest to be published, or the sink is dropped.
    async fn carry_out(
        &self,
        orders: &mut UnboundedReceiver<Order>,
        buffers: &mpsc::Sender<Vec<u8>>,
        running: &mut JoinSet<Result<Vec<u8>, Error>>,
    ) -> Result<Option<(MadeFile, mpsc::Sender<()>)>, Error> {
        loop {
            tokio::select! {
                Some(sent) = running.join_next() => {
                    // Fails only if the sink is gone.
                    let _ = buffers.send(joined(sent)??);
                }
                order = orders.recv() => match order {
                    Some(Order::Part(part)) => {
                        let target = self.target.clone();
                        let _ = running.spawn(async move { target.send_part(part).await });
                    }
                    Some(Order::Publish { manifest, done }) => return Ok(Some((manifest, done))),
                    None => return Ok(None),
                },
            }
        }
    }

    async fn publish(
        &self,
        manifest: MadeFile,
        stopped: oneshot::Receiver<()>,
    ) -> Result<(), Error> {
        let target = &self.target;
        let (name, print) = (manifest.name.clone(), manifest.print);
        self.tell(Event::SendingManifest);
        let late = async {
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        };
        let sent = tokio::select! {
            biased;
            sent = target.send(manifest) => sent.map(drop),
            () = late => Err(Error::Interrupted),
        };
        if let Err(error) = sent {
            // An older manifest may have this name, and must not be taken for the new one.
            let looked = timeout(LONGEST_REMOVAL, target.holds(&name, &print)).await;
            if !matches!(looked, Ok(Ok(true))) {
                let _ = target.files().remove(&name);
                return Err(error);
            }
            debug!("{error}: {name} is stored all the same");
        }
        let location = target.bucket.path().location(&name);
        self.tell(Event::Complete { location });
        Ok(())
    }

    /// Deletes what was stored, and reports what stays.
    async fn remove(&self) {
        let target = &self.target;
        let begun = target.files().clone();
        let mut left: Vec<String> = begun.keys().cloned().collect();
        let removal = async {
            let (stored, doubtful): (Vec<_>, Vec<_>) = begun
                .into_iter()
                .partition(|(_, file)| file.state == State::Stored);
            let stored: Vec<String> = stored.into_iter().map(|(name, _)| name).collect();
            let delete = target
                .bucket
                .delete(&stored, PARTS_IN_MEMORY, Error::from, |file| {
                    left.retain(|name| name != file);
                    Ok(())
                });
            delete.await?;
            let mut doubtful = doubtful;
            for look in 0..LOOKS {
                if doubtful.is_empty() {
                    break;
                }
                if look > 0 {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
                let mut not_there = Vec::new();
                for (file, begun) in doubtful {
                    match target.holds(&file, &begun.print).await? {
                        true => {
                            target.bucket.delete_file(&file).await?;
                            left.retain(|name| *name != file);
                        }
                        false if begun.state == State::OnItsWay => not_there.push((file, begun)),
                        false => left.retain(|name| *name != file),
                    }
                }
                doubtful = not_there;
            }
            for (file, _) in doubtful {
                left.retain(|name| *name != file);
            }
            Ok(())
        };
        let error = match timeout(LONGEST_REMOVAL, removal).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Some(Box::new(error)),
            Err(_) => None,
        };
        let bucket = target.bucket.path();
        let files = left.iter().map(|file| bucket.location(file)).collect();
        self.tell(Event::FilesStay { files, error });
    }

    fn tell(&self, event: Event) {
        // Fails only if the story has ended.
        let _ = self.events.send(event);
    }
}
