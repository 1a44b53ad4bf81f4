//! What the commands that make images of volumes share.
//!
//! - [`SelectionOptions`], [`ImageOptions`]: groups of options.
//! - [`make`]: makes an image, with a progress bar. [`warnings`]: what is worth knowing of a plan and of an image.
//! - [`advice()`]: what to do about an error of the imager.
//!
//! Not here: the imager (`ami-volume`), and what becomes of the image (`bin/`).

mod advice;
mod making;
mod options;
pub mod warnings;

pub use advice::advice;
pub use making::make;
pub use options::{ImageOptions, SelectionOptions};
