//! The beginning and the end of every command.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Command};
use clap_complete::Shell;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;

use crate::context::Context;
use crate::definition::Definition;
use crate::failure::Failure;
use crate::interrupt;
use crate::manual;
use crate::parse::{Parsed, parse};
use crate::print::{LogLines, print_text};
use crate::process;
use crate::sweeper;

/// The release of the older suite that these commands are compatible with; scripts read it.
pub const COMPATIBLE_VERSION: &str = "1.5.7 20071010";

/// The name of this suite, and its version.
pub const OWN_VERSION: &str = concat!("EC2 AMI tools in Rust, version ", env!("CARGO_PKG_VERSION"));

/// Prints what `make dist` needs: the man page or a shell's completions. Not an option: it is recognised only as the first argument, and
/// only in full.
const DUMP: &str = "--dump";

/// Runs a command: parses its arguments, then prints help or the version, or runs its story. Prints a failure and returns the exit code.
pub fn run<O: Args>(
    definition: &Definition,
    story: impl FnOnce(O, &Context) -> Result<(), Failure>,
) -> ExitCode {
    let stop_at_word = std::env::var_os("POSIXLY_CORRECT").is_some();
    let called = |_: &[OsString]| definition.name.to_owned();
    finish(definition, definition.command::<O>(), called, |arguments| {
        parse(definition, arguments, stop_at_word)
            .and_then(|parsed| answer(definition, parsed, story))
    })
}

/// Runs a command that ignores its arguments.
pub fn run_without_arguments(
    definition: &Definition,
    story: impl FnOnce(&Context) -> Result<(), Failure>,
) -> ExitCode {
    let command = definition.command::<NoOptions>();
    let called = |_: &[OsString]| definition.name.to_owned();
    finish(definition, command, called, |_| {
        story(&Context::new(definition, true, false, Arc::default()))
    })
}

/// No options of its own.
#[derive(Args)]
struct NoOptions {}

/// What every process does around its work. `called` gives the words with which help for these arguments is asked for.
pub(crate) fn finish(
    definition: &Definition,
    command: Command,
    called: impl FnOnce(&[OsString]) -> String,
    act: impl FnOnce(Vec<OsString>) -> Result<(), Failure>,
) -> ExitCode {
    process::prepare();
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|first| first == sweeper::ARGUMENT)
    {
        sweeper::wait_and_sweep(&arguments);
        return ExitCode::SUCCESS;
    }
    let called = called(&arguments);
    let outcome = if arguments.first().is_some_and(|first| first == DUMP) {
        let format = arguments.drain(..).nth(1).unwrap_or_default();
        dump(definition, command, &format)
    } else {
        act(arguments)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If this fails, there is still the exit code.
            let _ = std::io::stderr().write_all(failure.text(definition, &called).as_bytes());
            ExitCode::from(failure.code)
        }
    }
}

fn answer<O: Args>(
    definition: &Definition,
    parsed: Parsed<O>,
    story: impl FnOnce(O, &Context) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match parsed {
        Parsed::Version => print_text(&format!(
            "{} {COMPATIBLE_VERSION}\n{OWN_VERSION}\n",
            definition.name
        )),
        Parsed::Help => print_text(&help(definition, definition.command::<O>())),
        Parsed::Manual => print_text(&manual::as_text(definition, &definition.command::<O>())),
        Parsed::Run {
            options,
            common,
            words,
        } => {
            let context = Context::new(definition, common.batch, common.json, interrupt::flag());
            for word in words {
                context.warn(&format!("Ignoring {word:?}: it belongs to no option."));
            }
            if common.debug {
                log_to_stderr();
            }
            story(options, &context)
        }
    }
}

fn help(definition: &Definition, mut command: Command) -> String {
    let help = command.render_help();
    let help = if std::io::stdout().is_terminal() {
        help.ansi().to_string()
    } else {
        help.to_string()
    };
    let notice = definition.notice.map(|notice| format!("{notice}\n\n"));
    format!(
        "{}{}\n\n{}",
        notice.unwrap_or_default(),
        help.trim_end(),
        definition.examples_text()
    )
}

fn dump(definition: &Definition, mut command: Command, format: &OsString) -> Result<(), Failure> {
    let shell = match format.to_str() {
        Some("man") => return print_text(&manual::as_roff(definition, &command, OWN_VERSION)),
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => {
            return Err(Failure::usage(format!(
                "{DUMP} takes man, bash, zsh or fish"
            )));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, definition.name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6 writes the hyphens of a command in two ways, and then finds no options of its verbs.
        let written = |hyphen: &str| definition.name.replace('-', hyphen) + "__subcmd__";
        script = script.replace(&written("__subcmd__"), &written("__"));
    }
    print_text(&script)
}

/// Logs only this suite's own messages: libraries log too much, and possibly secrets.
pub(crate) fn log_to_stderr() {
    let own = ["ami_", "ec2_"].map(|begin| (begin, LevelFilter::DEBUG));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogLines)
        // Colours would be escaped.
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_filter(Targets::from_iter(own));
    // Fails only if there is a subscriber already; this is called once.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}
