//! A command's definition: the one source of its parser, help, manual page and completions.

use std::error::Error;

use clap::{Arg, Args, Command};

use crate::lexer::Known;
use crate::manual;
use crate::markers::{CheckedLast, Mandatory, New, Shape};
use crate::options::CommonOptions;

/// A command's advice about an error; `None` if it has none.
///
/// It is called with the error and then with each of its causes. An error that another wraps transparently (`#[error(transparent)]`) is
/// not one of its causes; it is reached through the variant.
pub type Advise = fn(&(dyn Error + 'static)) -> Option<String>;

/// A command's texts, besides those of its options.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The command's name.
    pub name: &'static str,
    /// What it does, in one line without a full stop.
    pub summary: &'static str,
    /// What follows its name in the usage line.
    pub usage: &'static str,
    /// What `--help` prints first.
    pub notice: Option<&'static str>,
    /// Paragraphs of the manual.
    pub description: &'static [&'static str],
    /// Exit codes and their meanings.
    pub exit_codes: &'static [(&'static str, &'static str)],
    /// Files and environment variables, and their purposes.
    pub files: &'static [(&'static str, &'static str)],
    /// Examples: what each does, and its command line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Related commands.
    pub see_also: &'static [&'static str],
    /// What to do about the errors of libraries, which do not know the command's options.
    pub advise: Advise,
}

impl Definition {
    /// A command without texts.
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Self {
        name: "",
        summary: "",
        usage: "",
        notice: None,
        description: &[],
        exit_codes: &[],
        files: &[],
        examples: &[],
        see_also: &[],
        advise: |_| None,
    };

    /// The clap command, with its own options and those that every command has.
    pub(crate) fn command<O: Args>(&self) -> Command {
        let command = O::augment_args(Command::new(self.name));
        // The description is set last, because doc comments of option groups would replace it.
        CommonOptions::augment_args(command)
            .mut_args(|argument| {
                if argument.is_required_set() {
                    argument.required(false).add(Mandatory)
                } else {
                    argument
                }
            })
            .about(capitalised(self.summary))
            .override_usage(format!("{} {}", self.name, self.usage))
            .help_template("Usage: {usage}\n\n{about}.\n\n{all-args}")
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .term_width(80)
    }

    /// What `--help` prints after the options.
    pub(crate) fn examples_text(&self) -> String {
        let examples = self.examples.iter();
        let examples = examples.map(|(what, line)| format!("\n  {what}:\n    {line}\n"));
        format!("Examples:{}", examples.collect::<String>())
    }

    /// The exit codes, as `--help` of a command with verbs prints them.
    pub(crate) fn exit_codes_text(&self) -> String {
        const COLUMN: usize = 7;
        let codes = self.exit_codes.iter().map(|(code, meaning)| {
            let mut wrapped = String::new();
            manual::wrap(meaning, COLUMN, &mut wrapped);
            format!("\n  {code:<5}{}", wrapped.trim())
        });
        format!("Exit codes:{}", codes.collect::<String>())
    }
}

/// The options in the lexer's form.
pub(crate) fn known(command: &Command) -> Vec<Known> {
    command
        .get_arguments()
        .filter_map(|argument| {
            Some(Known {
                long: argument.get_long()?.to_owned(),
                short: argument.get_short(),
                takes_value: takes_value(argument),
                shape: argument.get().copied().unwrap_or(Shape::Text),
                is_checked_last: argument.get::<CheckedLast>().is_some(),
                is_new: argument.get::<New>().is_some(),
            })
        })
        .collect()
}

pub(crate) fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}
