//! Parses a command line into a command's options.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::definition::{Definition, known};
use crate::failure::Failure;
use crate::lexer::{self, Lexed};
use crate::markers::{LiftsMandatory, Mandatory, Order};
use crate::options::CommonOptions;

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Parsed<O> {
    Version,
    Help,
    Manual,
    Run {
        options: O,
        common: CommonOptions,
        /// Words that do not belong to an option.
        words: Vec<OsString>,
    },
}

/// Parses the arguments after the command's name.
///
/// Errors come in the order of the arguments, followed by missing mandatory options, unless only help is requested.
pub(crate) fn parse<O: Args>(
    definition: &Definition,
    arguments: impl IntoIterator<Item = OsString>,
    stop_at_word: bool,
) -> Result<Parsed<O>, Failure> {
    let mut command = definition.command::<O>();
    let known = known(&command);
    let mut lexed = lexer::lex(&known, arguments, stop_at_word);
    lexed.drop_unread(&known);
    let Lexed {
        options,
        words,
        error,
    } = lexed;
    let named = std::iter::once(OsString::from(definition.name)).chain(options);
    // An invalid value is reported before what stopped the lexer.
    let matches = command
        .try_get_matches_from_mut(named)
        .map_err(|error| Failure::usage(message(&error)))?;
    if let Some(error) = error {
        return Err(Failure::usage(error));
    }
    let common = CommonOptions::from_arg_matches(&matches)
        .map_err(|error| Failure::usage(message(&error)))?;
    if common.version {
        return Ok(Parsed::Version);
    }
    if common.help {
        return Ok(Parsed::Help);
    }
    if common.manual {
        return Ok(Parsed::Manual);
    }
    if let Some(name) = missing(&command, &matches) {
        return Err(Failure::missing(name));
    }
    let options = O::from_arg_matches(&matches).map_err(|error| Failure::usage(message(&error)))?;
    Ok(Parsed::Run {
        options,
        common,
        words,
    })
}

/// The first mandatory option that is missing.
fn missing<'a>(command: &'a Command, matches: &ArgMatches) -> Option<&'a str> {
    let lifts = |argument: &Arg| argument.get::<LiftsMandatory>().is_some();
    let mut lifting = command.get_arguments().filter(|argument| lifts(argument));
    if lifting.any(|argument| matches.get_flag(argument.get_id().as_str())) {
        return None;
    }
    command
        .get_arguments()
        .filter(|argument| argument.get::<Mandatory>().is_some())
        .filter(|argument| !matches.contains_id(argument.get_id().as_str()))
        .min_by_key(|argument| argument.get::<Order>().map(|Order(order)| *order))
        .and_then(Arg::get_long)
}

/// clap's error in the older suite's words.
fn message(error: &Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // `--name <VALUE>`
    let option = context(ContextKind::InvalidArg);
    let option = option.split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            let separator = if reason.is_empty() { "" } else { ": " };
            format!("{option} has invalid value '{value}'{separator}{reason}")
        }
        ErrorKind::InvalidUtf8 => "invalid argument: it is not UTF-8".to_owned(),
        // Only the first line: after it comes the usage, which `--help` prints too.
        _ => {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}
