//! What every command of the suite shares: options, parsing, prompts, exit codes, status lines, progress, logging, help.
//!
//! Not here: how it is done (`ami-bundle`, `ami-manifest`, `ami-parts`), and the story of each command (`bin/`).
//!
//! - [`Definition`]: a command's one definition. [`markers`]: what stands at an option's field. [`run()`]: the beginning and the end
//!   of every `main`.
//! - [`IdentityOptions`], [`IdentityIfNeeded`], [`BundleOptions`], [`RunningOptions`], [`CompressionOptions`]: groups of options.
//! - [`Context`]: status lines, questions, interruption. [`Progress`]: a bar on a terminal.
//! - [`Failure`], [`OrExit`], [`exit`]: how a command ends when it does not end well. [`advice`]: what to do about errors of libraries.
//! - [`Bundling`]: bundling an image, from the options to the status lines. [`Story`]: what a story tells while it runs. [`ec2_certificate()`]: where EC2's certificate is.

pub mod advice;
mod architecture;
mod bundling;
mod certificate;
mod context;
mod definition;
mod ec2_certificate;
mod failure;
mod interrupt;
mod lexer;
mod manual;
pub mod markers;
mod options;
mod parse;
mod print;
mod process;
mod progress;
mod prompt;
mod run;
mod story;
mod sweeper;
pub mod values;

pub use architecture::check_architecture;
pub use bundling::{BundleReport, Bundling, InstanceMetadata, Source};
pub use context::Context;
pub use definition::{Advise, Definition};
pub use ec2_certificate::{NotFound, ec2_certificate};
pub use failure::{Failure, OrExit, exit, one_line};
pub use options::{
    BundleOptions, CompressionOptions, IdentityIfNeeded, IdentityOptions, RunningOptions,
};
pub use print::{counted, shown_path, visible};
pub use progress::Progress;
pub use prompt::Answer;
pub use run::{COMPATIBLE_VERSION, OWN_VERSION, run, run_without_arguments};
pub use story::Story;
