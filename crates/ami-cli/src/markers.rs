//! Attributes of options besides clap's own, set at the field: `#[arg(add = New)]`.
//!
//! An option is mandatory if its field needs a value and has no default: its type is not an `Option`. A command can add a marker to an
//! option of a shared group: `#[command(mut_arg("sigv", |arg| arg.add(New)))]`.

use clap::builder::ArgExt;

pub use crate::lexer::Shape;

/// The older suite's command does not have this option, so it must never make a prefix of an older option ambiguous.
#[derive(Debug, Clone, Copy)]
pub struct New;

/// The older suite checks the value after it has read the whole line: only the last value counts, and none if only help or the version
/// is requested.
#[derive(Debug, Clone, Copy)]
pub struct CheckedLast;

/// If several mandatory options are missing, the one with the lowest number is reported, in the older suite's order.
#[derive(Debug, Clone, Copy)]
pub struct Order(pub u8);

/// With this flag no option is mandatory.
#[derive(Debug, Clone, Copy)]
pub struct LiftsMandatory;

/// The option's field needs a value. Replaces clap's `required`, which would refuse `--help` alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mandatory;

impl ArgExt for Shape {}
impl ArgExt for New {}
impl ArgExt for CheckedLast {}
impl ArgExt for Order {}
impl ArgExt for LiftsMandatory {}
impl ArgExt for Mandatory {}
