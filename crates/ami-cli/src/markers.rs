//! What stands at an option's field besides clap's own attributes, as `#[arg(add = New)]`.
//!
//! An option is mandatory if its field can do without neither a value nor a default: the field's type is no `Option`. Options of a
//! shared group can be given another marker in one command: `#[command(mut_arg("sigv", |arg| arg.add(New)))]`.

use clap::builder::ArgExt;

pub use crate::lexer::Shape;

/// The older suite's command does not have the option: it never makes a prefix of an older option ambiguous.
#[derive(Debug, Clone, Copy)]
pub struct New;

/// The older suite looks at the value when it has read the whole line: only the last one given counts, and none where only help or the
/// version is wanted.
#[derive(Debug, Clone, Copy)]
pub struct CheckedLast;

/// Of several mandatory options that are missing, the one with the lowest number is reported, which is the older suite's order.
#[derive(Debug, Clone, Copy)]
pub struct Order(pub u8);

/// With this flag no option is mandatory.
#[derive(Debug, Clone, Copy)]
pub struct LiftsMandatory;

/// The option's field needs a value. [`Definition::command`](crate::Definition) sets it in place of clap's `required`, which would
/// refuse `--help` alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mandatory;

impl ArgExt for Shape {}
impl ArgExt for New {}
impl ArgExt for CheckedLast {}
impl ArgExt for Order {}
impl ArgExt for LiftsMandatory {}
impl ArgExt for Mandatory {}
