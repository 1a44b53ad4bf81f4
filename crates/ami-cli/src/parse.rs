//! From a command line to a command's options.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::definition::{Definition, Options};
use crate::failure::Failure;
use crate::lexer::{self, Lexed};

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Parsed<O> {
    Version,
    Help,
    Manual,
    Run {
        options: O,
        /// What belonged to no option.
        words: Vec<OsString>,
    },
}

/// Reads the arguments behind the command's name.
///
/// Errors come in the order of the arguments; a mandatory option that is missing comes after them, and not where only help is wanted.
pub(crate) fn parse<O: Options>(
    definition: &Definition,
    arguments: impl IntoIterator<Item = OsString>,
    stop_at_word: bool,
) -> Result<Parsed<O>, Failure> {
    let mut command = definition.command::<O>();
    let known = definition.known(&command);
    let mut lexed = lexer::lex(&known, arguments, stop_at_word);
    lexed.drop_unread(&known);
    let Lexed {
        options,
        words,
        error,
    } = lexed;
    let named = std::iter::once(OsString::from(definition.name)).chain(options);
    // A value that is wrong stands before what stopped the lexer.
    let matches = command
        .try_get_matches_from_mut(named)
        .map_err(|error| Failure::usage(message(&error)))?;
    if let Some(error) = error {
        return Err(Failure::usage(error));
    }
    let options = O::from_arg_matches(&matches).map_err(|e| Failure::usage(message(&e)))?;
    let common = options.common();
    if common.version {
        return Ok(Parsed::Version);
    }
    if common.help {
        return Ok(Parsed::Help);
    }
    if common.manual {
        return Ok(Parsed::Manual);
    }
    // clap knows an option by its field's name.
    let id = |name: &str| name.replace('-', "_");
    let is_lifted = |name: &&str| matches.get_flag(&id(name));
    if definition.lifts_mandatory.iter().any(is_lifted) {
        return Ok(Parsed::Run { options, words });
    }
    for name in definition.mandatory {
        if matches.value_source(&id(name)).is_none() {
            return Err(Failure::missing(name));
        }
    }
    Ok(Parsed::Run { options, words })
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
        // What follows its first line is the usage, which `--help` shows too.
        _ => {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}
