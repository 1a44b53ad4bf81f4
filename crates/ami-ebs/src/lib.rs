//! EBS snapshots through the direct APIs, without an instance or a volume: writing one, reading one back, downloading one.
//!
//! - [`Ebs`]: the client of a region, made from [`ami_aws::Aws`].
//! - [`upload()`]: a [`Source`] becomes a snapshot: a [`Disk`], one that is handed over ([`Passing`]), or a stream. Free space is left
//!   out, zeros are not: of an encrypted volume a block that was never written reads as noise. An interrupted run is gone on with by a
//!   [`Journal`] and a [`client_token`].
//! - [`verify()`]: every block is read back, and compared with the journal.
//! - [`download()`]: a snapshot becomes a sparse file, which takes its name when it is whole.
//! - [`Observer`], [`Event`], [`Progress`]: what happens meanwhile. [`Snapshots`]: what the caller knows from EC2.
//!
//! How many requests are in flight, and how many begin in a second, finds itself. All are futures that can be dropped.
//!
//! ```no_run
//! # async fn story(aws: ami_aws::Aws, ec2: impl ami_ebs::Snapshots) -> Result<(), Box<dyn std::error::Error>> {
//! use ami_ebs::{Ebs, Parameters, Source, Upload, VISIBLE_WITHIN, upload};
//!
//! let image = ami_image::Image::open("disk.img".as_ref())?;
//! let request = Upload {
//!     parameters: Parameters { volume_size: 10, ..Parameters::default() },
//!     source: [0; 32], // of its path, device and inode, say
//!     journal: "disk.img.journal".into(),
//!     parallel: 64,
//!     visible_within: VISIBLE_WITHIN,
//! };
//! let source = Source::Disk { disk: std::sync::Arc::new(image), free: Vec::new() };
//! let done = upload(&Ebs::new(&aws, "eu-west-1", None), source, &request, &ec2, &()).await?;
//! println!("{}", done.snapshot);
//! done.journal.remove()?;
//! # Ok(()) }
//! ```
//!
//! Not here: what is on a disk and which of it is free (`ami-disk`), images and the state of snapshots (`ami-ec2`), credentials and tries
//! (`ami-aws`).

mod background;
mod bitmap;
mod block;
mod controller;
mod download;
mod ebs;
mod error;
mod fetch;
mod gate;
mod intake;
mod journal;
mod locked;
mod observer;
mod producer;
mod progress;
mod request;
mod sender;
mod sha256;
mod source;
mod token;
mod upload;
mod verify;

pub use block::{BLOCK_SIZE, Digest, LARGEST_VOLUME};
pub use download::{Download, Downloaded, download};
pub use ebs::Ebs;
pub use error::{BoxError, Error};
pub use intake::{Intake, NotTaken};
pub use journal::Journal;
pub use observer::{Event, Observer, Snapshots, State};
pub use progress::{Counts, Progress};
pub use source::{Disk, NotPassed, Passing, Source};
pub use token::{Parameters, client_token};
pub use upload::{Failure, Upload, Uploaded, VISIBLE_WITHIN, upload};
pub use verify::verify;
