//! A command's one definition, of which its parser, help, manual page and completions are made.

use std::error::Error;

use clap::{Arg, Args, Command};

use crate::lexer::{Known, Shape};
use crate::options::CommonOptions;

/// What to do about an error, in the words of a command: `None` if there is nothing to say.
///
/// It is asked for the error and then for each of its causes. An error that is transparent in another (`#[error(transparent)]`) is
/// not one of its causes: it is reached through its variant.
pub type Advise = fn(&(dyn Error + 'static)) -> Option<String>;

/// What is said of a command besides its options.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The command's name.
    pub name: &'static str,
    /// What it does, in a line, without a full stop.
    pub summary: &'static str,
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// What `--help` says before anything else.
    pub notice: Option<&'static str>,
    /// Paragraphs of the manual.
    pub description: &'static [&'static str],
    /// Long options without which it cannot run, in the order in which they are asked for.
    pub mandatory: &'static [&'static str],
    /// Flags with which it runs without those.
    pub lifts_mandatory: &'static [&'static str],
    /// Long options that the older suite's command does not have.
    pub new_options: &'static [&'static str],
    /// Long options whose value cannot be empty, though it can be in other commands.
    pub not_empty: &'static [&'static str],
    /// Exit codes and when they are used.
    pub exit_codes: &'static [(&'static str, &'static str)],
    /// Files and variables, and what they are for.
    pub files: &'static [(&'static str, &'static str)],
    /// What an example does, and its command line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Related commands.
    pub see_also: &'static [&'static str],
    /// What to do about the errors of libraries, which do not know the command's options.
    pub advise: Advise,
}

/// A command's options.
pub trait Options: Args {
    /// Those that every command has.
    fn common(&self) -> &CommonOptions;

    /// Whether status lines give way to JSON.
    fn json(&self) -> bool {
        false
    }
}

/// Options whose values the older suite's parser checks in another way than for any text.
const SHAPES: [(&str, Shape); 10] = [
    ("exclude", Shape::TextOrNothing),
    ("include", Shape::TextOrNothing),
    ("sigv", Shape::TextOrNothing),
    ("kernel", Shape::TextOrNothing),
    ("ramdisk", Shape::TextOrNothing),
    ("region", Shape::TextOrNothing),
    ("location", Shape::TextOrNothing),
    ("part", Shape::Integer),
    ("size", Shape::Integer),
    ("partition", Shape::OneOf(&["gpt", "mbr", "none"])),
];

/// Options whose values the older suite looks at when it has read the whole line: only the last one given counts, and none where only
/// help or the version is wanted.
const CHECKED_LAST: [&str; 5] = [
    "bucket",
    "destination-bucket",
    "endpoint-url",
    "sigv",
    "url",
];

impl Definition {
    /// A command of which nothing is said.
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Self {
        name: "",
        summary: "",
        usage: "",
        notice: None,
        description: &[],
        mandatory: &[],
        lifts_mandatory: &[],
        new_options: &[],
        not_empty: &[],
        exit_codes: &[],
        files: &[],
        examples: &[],
        see_also: &[],
        advise: |_| None,
    };

    /// The options as clap knows them.
    pub(crate) fn command<O: Options>(&self) -> Command {
        // The option groups' own doc comments would become the command's description: it is set after them.
        O::augment_args(Command::new(self.name))
            .about(capitalised(self.summary))
            .override_usage(format!("{} {}", self.name, self.usage))
            .help_template("Usage: {usage}\n\n{about}.\n\n{all-args}")
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .term_width(80)
    }

    /// What `--help` shows behind the options.
    pub(crate) fn examples_text(&self) -> String {
        let examples = self.examples.iter();
        let examples = examples.map(|(what, line)| format!("\n  {what}:\n    {line}\n"));
        format!("Examples:{}", examples.collect::<String>())
    }

    pub(crate) fn known(&self, command: &Command) -> Vec<Known> {
        command
            .get_arguments()
            .filter_map(|argument| {
                let long = argument.get_long()?.to_owned();
                Some(Known {
                    short: argument.get_short(),
                    takes_value: takes_value(argument),
                    shape: self.shape(&long),
                    is_checked_last: CHECKED_LAST.contains(&long.as_str()),
                    is_new: self.new_options.contains(&long.as_str()),
                    long,
                })
            })
            .collect()
    }

    fn shape(&self, long: &str) -> Shape {
        let known = SHAPES.iter().find(|(name, _)| *name == long);
        match known {
            Some((_, shape)) if !self.not_empty.contains(&long) => *shape,
            _ => Shape::Text,
        }
    }
}

pub(crate) fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}
