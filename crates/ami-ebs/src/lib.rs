//! EBS snapshots through the direct APIs.

mod background;
mod bitmap;
mod block;
mod buffers;
mod controller;
mod download;
mod ebs;
mod error;
mod fetch;
mod gate;
mod journal;
mod observer;
mod producer;
mod progress;
mod request;
mod source;
mod token;
mod upload;
mod verify;

pub use block::{BLOCK_SIZE, Digest, LARGEST_VOLUME};
pub use download::{Download, Downloaded, download};
pub use ebs::Ebs;
pub use error::{BoxError, Error};
pub use journal::Journal;
pub use observer::{Event, Observer, Snapshots, State};
pub use progress::{Counts, Progress};
pub use source::{Disk, Source};
pub use token::{Parameters, client_token};
pub use upload::{Failure, Upload, Uploaded, VISIBLE_WITHIN, upload};
pub use verify::verify;
