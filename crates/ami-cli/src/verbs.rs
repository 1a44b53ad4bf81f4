//! Commands with verbs (`ec2-ami create …`). They are younger than the older suite and read their arguments as clap does: no
//! abbreviations, and a word that belongs to nothing is an error.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::ArgAction::{Help, SetTrue};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Args, Command, FromArgMatches, Subcommand};

use crate::context::Context;
use crate::definition::Definition;
use crate::failure::Failure;
use crate::manual;
use crate::print::print_text;
use crate::run::{OWN_VERSION, finish, log_to_stderr};
use crate::{interrupt, print};

const COMMON: &str = "Common options";

/// How the help of a verb, and of the command, is laid out.
const TEMPLATE: &str = "Usage: {usage}\n\n{about}.\n\n{all-args}{after-help}";

/// Options that stand before or after any verb.
#[derive(Debug, Clone, Args)]
struct EveryVerb {
    /// Print one JSON object in place of the status lines; asks nothing
    #[arg(long, action = SetTrue, global = true, help_heading = COMMON, display_order = 890)]
    json: bool,
    /// Log each step to standard error
    #[arg(long, action = SetTrue, global = true, help_heading = COMMON, display_order = 901)]
    debug: bool,
    /// Print this help
    #[arg(short = 'h', long, action = Help, global = true, help_heading = COMMON, display_order = 902)]
    help: Option<bool>,
    /// Print the manual page
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 903)]
    manual: bool,
    /// Print the version
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 904)]
    version: bool,
}

/// Runs a command whose first argument is a verb: prints help or the version, or runs the verb's story; prints its failure and returns its
/// exit code.
pub fn run_verbs<V: Subcommand>(
    definition: &Definition,
    story: impl FnOnce(V, &Context) -> Result<(), Failure>,
) -> ExitCode {
    let command = command::<V>(definition);
    let verbs = command.clone();
    let called = move |arguments: &[OsString]| {
        let verb = arguments.iter().find_map(|word| {
            let mut verbs = verbs.get_subcommands();
            verbs.find(|verb| word == verb.get_name())
        });
        match verb {
            Some(verb) => format!("{} {}", definition.name, verb.get_name()),
            None => definition.name.to_owned(),
        }
    };
    finish(definition, command.clone(), called, |arguments| {
        act(definition, command, arguments, story)
    })
}

fn command<V: Subcommand>(definition: &Definition) -> Command {
    let command = V::augment_subcommands(Command::new(definition.name));
    EveryVerb::augment_args(command)
        .about(crate::definition::capitalised(definition.summary))
        .override_usage(format!("{} {}", definition.name, definition.usage))
        .after_help(format!(
            "The options of a verb: {} VERB --help\n\n{}\n\n{}",
            definition.name,
            definition.exit_codes_text(),
            definition.examples_text().trim_end()
        ))
        .help_template(
            "Usage: {usage}\n\n{about}.\n\nVerbs:\n{subcommands}\n\n{options}{after-help}",
        )
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args_conflicts_with_subcommands(false)
        .term_width(80)
        .mut_subcommands(|verb| {
            verb.after_help(format!(
                "Exit codes and examples: {} --help",
                definition.name
            ))
            .help_template(TEMPLATE)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .term_width(80)
        })
}

fn act<V: Subcommand>(
    definition: &Definition,
    command: Command,
    arguments: Vec<OsString>,
    story: impl FnOnce(V, &Context) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let named = std::iter::once(OsString::from(definition.name)).chain(arguments);
    let matches = match command.clone().try_get_matches_from_mut(named) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let help = error.render();
            let help = match std::io::stdout().is_terminal() {
                true => help.ansi().to_string(),
                false => help.to_string(),
            };
            return print_text(&format!("{}\n", help.trim_end()));
        }
        Err(error) => return Err(Failure::usage(message(&error))),
    };
    let read = |error: Error| Failure::usage(message(&error));
    let common = EveryVerb::from_arg_matches(&matches).map_err(read)?;
    if common.version {
        return print_text(&format!("{OWN_VERSION}\n"));
    }
    if common.manual {
        return print_text(&manual::as_text(definition, &command));
    }
    if matches.subcommand_name().is_none() {
        let verbs = command.get_subcommands().map(Command::get_name);
        let verbs: Vec<&str> = verbs.collect();
        return Err(Failure::usage(format!(
            "a verb is missing: {}",
            verbs.join(", ")
        )));
    }
    let verb = V::from_arg_matches(&matches).map_err(read)?;
    let context = Context::new(definition, false, common.json, interrupt::flag());
    if common.debug {
        log_to_stderr();
    }
    story(verb, &context)
}

/// clap's error on one line.
fn message(error: &Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("missing: {argument}"),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("there is no {argument}")
        }
        ErrorKind::UnknownArgument => format!("{argument} is one word too many"),
        ErrorKind::InvalidValue if !context(ContextKind::InvalidValue).is_empty() => {
            let option = argument.split(' ').next().unwrap_or_default();
            let value = context(ContextKind::InvalidValue);
            let valid = context(ContextKind::ValidValue);
            format!("{option} has invalid value '{value}': it is one of {valid}")
        }
        ErrorKind::InvalidSubcommand => {
            format!(
                "there is no verb {}",
                context(ContextKind::InvalidSubcommand)
            )
        }
        ErrorKind::ValueValidation => {
            let option = argument.split(' ').next().unwrap_or_default();
            let value = context(ContextKind::InvalidValue);
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{option} has invalid value '{value}': {reason}")
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        // After its first line come hints and the usage, which `--help` prints too.
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            print::visible(line).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Subcommand)]
    enum Verb {
        /// Makes something
        Make {
            /// Of what
            from: String,
            /// Its name
            #[arg(long)]
            name: String,
            /// Of which kind
            #[arg(long, value_parser = ["x", "y"])]
            kind: Option<String>,
            /// How many
            #[arg(long, value_parser = number)]
            count: Option<u32>,
        },
    }

    fn number(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| "a number is needed".to_owned())
    }

    const DEFINITION: Definition = Definition {
        name: "ec2-x",
        summary: "makes things",
        usage: "VERB [OPTIONS]",
        ..Definition::EMPTY
    };

    fn said(arguments: &[&str]) -> Result<String, String> {
        let arguments = arguments.iter().map(OsString::from).collect();
        let mut result = String::new();
        let story = |verb: Verb, context: &Context| {
            result = format!("{verb:?} {}", context.is_json());
            Ok(())
        };
        let outcome = act(&DEFINITION, command::<Verb>(&DEFINITION), arguments, story);
        let told = |failure: Failure| failure.text(&DEFINITION, "ec2-x make");
        outcome.map(|()| result).map_err(told)
    }

    #[test]
    fn options_of_all_verbs_stand_anywhere() {
        let expected = "Make { from: \"f\", name: \"n\", kind: None, count: Some(3) } true";
        for arguments in [
            ["--json", "make", "f", "--name", "n", "--count=3"],
            ["make", "--name=n", "--count", "3", "f", "--json"],
        ] {
            assert_eq!(said(&arguments).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_wrong_is_told_on_one_line() {
        let help = "Try 'ec2-x make --help'\n";
        for (arguments, line) in [
            (&[][..], "a verb is missing: make"),
            (&["unmake"], "there is no verb unmake"),
            (&["make", "f"], "missing: --name <NAME>"),
            (
                &["make", "--name", "n", "f", "--nam", "x"],
                "there is no --nam",
            ),
            (&["make", "--name", "n", "f", "g"], "g is one word too many"),
            (
                &["make", "--name", "n", "f", "--kind", "z"],
                "--kind has invalid value 'z': it is one of x, y",
            ),
            (
                &["make", "--name", "n", "f", "--count", "x\ny"],
                "--count has invalid value 'x\\ny': a number is needed",
            ),
        ] {
            assert_eq!(said(arguments), Err(format!("{line}\n{help}")));
        }
    }
}
