//! What every command of the suite shares: options, parsing, prompts, exit codes, status lines, progress, logging, help.
//!
//! Not here: the work itself (`ami-bundle`, `ami-manifest`, `ami-parts`), and each command's own flow (`bin/`).
//!
//! - [`Definition`]: a command's definition. [`markers`]: attributes of options. [`run()`], [`run_verbs`]: the beginning and end of every
//!   `main`.
//! - [`IdentityOptions`], [`IdentityIfNeeded`], [`KeyOptions`], [`BundleOptions`], [`ManifestOptions`], [`RunningOptions`],
//!   [`CompressionOptions`]: groups of options.
//! - [`Context`]: status lines, questions, interruption. [`Progress`]: a bar on a terminal.
//! - [`Failure`], [`OrExit`], [`exit`]: how a command fails. [`advice`]: what to do about errors of libraries.
//! - [`CheckReport`]: the results of checking a bundle. [`Bundling`]: bundling an image, from the options to the status lines;
//!   [`plan_bundle`]: from the options to the plan. [`Story`]: shows a story's events. [`ec2_certificate()`]: finds
//!   EC2's certificate.

pub mod advice;
mod architecture;
mod bundling;
mod certificate;
mod checks;
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
mod verbs;

pub use architecture::check_architecture;
pub use bundling::{BundleReport, Bundling, InstanceMetadata, PartReport, Source, plan_bundle};
pub use checks::CheckReport;
pub use context::Context;
pub use definition::{Advise, Definition};
pub use ec2_certificate::{NotFound, ec2_certificate};
pub use failure::{Failure, OrExit, exit, one_line};
pub use options::{
    BundleOptions, CompressionOptions, IdentityIfNeeded, IdentityOptions, KeyOptions,
    ManifestOptions, RunningOptions,
};
pub use print::{counted, shown_path, visible};
pub use progress::Progress;
pub use prompt::Answer;
pub use run::{COMPATIBLE_VERSION, OWN_VERSION, run, run_without_arguments};
pub use story::Story;
pub use verbs::run_verbs;
