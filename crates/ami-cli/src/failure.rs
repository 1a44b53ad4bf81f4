//! How a command fails: what it prints, and its exit code.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::definition::{Advise, Definition};
use crate::print::visible;

/// The older suite's exit codes (docs/compatibility.md).
pub mod exit {
    /// A wrong command line.
    pub const USAGE: u8 = 1;
    /// Reading the image or writing its bundle failed.
    pub const BUNDLING: u8 = 1;
    /// A file that is needed is missing.
    pub const MISSING_FILE: u8 = 2;
    /// A backup or key that would be written exists already.
    pub const ALREADY_THERE: u8 = 2;
    /// S3 or the network failed, or a local part is missing.
    pub const SERVICE: u8 = 3;
    /// A question was not answered in time.
    pub const TIMEOUT: u8 = 5;
    /// A kernel or RAM disk has no counterpart in the region.
    pub const NO_COUNTERPART: u8 = 6;
    /// EC2 has no such region.
    pub const UNKNOWN_REGION: u8 = 7;
    /// The bucket is not at the given location.
    pub const LOCATION: u8 = 10;
    /// The instance's metadata cannot be read.
    pub const NO_METADATA: u8 = 12;
    /// Anything else.
    pub const OTHER: u8 = 254;
    /// SIGINT or SIGTERM.
    pub const INTERRUPTED: u8 = 255;
}

/// Why a command ends early.
#[derive(Debug)]
pub struct Failure {
    pub(crate) code: u8,
    pub(crate) message: Message,
}

/// Something failed after the result was complete.
#[derive(Debug, thiserror::Error)]
#[error("{path} is complete, but what followed failed", path = .path.display())]
struct AfterCompletion {
    path: PathBuf,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// What is printed on standard error.
#[derive(Debug)]
pub(crate) enum Message {
    /// The error, its causes and the advice on one line; then where to find help.
    Usage(Box<dyn Error + Send + Sync>),
    /// `ERROR:`, then the error, its causes and the advice on one line.
    Error(Box<dyn Error + Send + Sync>),
    /// The text alone.
    Plain(String),
    /// Each of these, in this order.
    All(Vec<Failure>),
    /// `COMMAND interrupted.`
    Interrupted,
    /// Nothing.
    None,
}

impl Failure {
    /// A wrong command line.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code: exit::USAGE,
            message: Message::Usage(error.into()),
        }
    }

    /// A mandatory option is missing.
    pub fn missing(option: &str) -> Self {
        Self::usage(format!("missing mandatory parameter: --{option}"))
    }

    /// Two options that exclude each other.
    pub fn not_both(one: &str, other: &str) -> Self {
        Self::usage(format!("--{one} and --{other} may not both be provided"))
    }

    /// An error, and its exit code.
    pub fn new(code: u8, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        if let Some(ami_parts::Error::Interrupted) = error.downcast_ref() {
            return Self::interrupted();
        }
        Self {
            code,
            message: Message::Error(error),
        }
    }

    /// Adds that the result, whose main file is `complete`, is complete nevertheless.
    pub fn after(self, complete: &Path) -> Self {
        let message = match self.message {
            Message::Error(source) => Message::Error(Box::new(AfterCompletion {
                path: complete.to_owned(),
                source,
            })),
            message => message,
        };
        Self {
            code: self.code,
            message,
        }
    }

    /// Fails with several problems at once, unless there are none: all are printed, and the exit code is that of the first.
    ///
    /// # Errors
    /// The problems.
    pub fn all(problems: Vec<Self>) -> Result<(), Self> {
        let Some(first) = problems.first() else {
            return Ok(());
        };
        Err(Self {
            code: first.code,
            message: Message::All(problems),
        })
    }

    /// Whether the command ends because of SIGINT or SIGTERM.
    pub fn is_interruption(&self) -> bool {
        matches!(self.message, Message::Interrupted)
    }

    /// SIGINT or SIGTERM was received.
    pub fn interrupted() -> Self {
        Self {
            code: exit::INTERRUPTED,
            message: Message::Interrupted,
        }
    }

    /// A line without a prefix.
    pub(crate) fn plain(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            message: Message::Plain(text.into()),
        }
    }

    /// Prints nothing: the user declined, or everything has been printed.
    pub fn silent(code: u8) -> Self {
        Self {
            code,
            message: Message::None,
        }
    }

    /// What is printed on standard error: nothing, or whole lines. `called` are the words with which help is asked for.
    pub(crate) fn text(&self, definition: &Definition, called: &str) -> String {
        let command = definition.name;
        let advised = |error| advised_line(error, definition.advise);
        match &self.message {
            Message::Usage(error) => {
                format!("{}\nTry '{called} --help'\n", advised(error.as_ref()))
            }
            Message::Error(error) => format!("ERROR: {}\n", advised(error.as_ref())),
            Message::Plain(text) => format!("{}\n", visible(text)),
            Message::All(problems) => {
                let texts: Vec<String> = problems
                    .iter()
                    .map(|one| one.text(definition, called))
                    .collect();
                texts.concat()
            }
            Message::Interrupted => format!("{command} interrupted.\n"),
            Message::None => String::new(),
        }
    }
}

/// A failure on one line, without the prefix and hints that are printed on standard error.
pub(crate) fn bare_line(failure: &Failure, advise: Advise) -> String {
    match &failure.message {
        Message::Usage(error) | Message::Error(error) => advised_line(error.as_ref(), advise),
        Message::Plain(text) => visible(text).into_owned(),
        Message::All(problems) => {
            let lines: Vec<String> = problems.iter().map(|one| bare_line(one, advise)).collect();
            lines.join("; ")
        }
        Message::Interrupted => "interrupted".to_owned(),
        Message::None => String::new(),
    }
}

/// An error and its causes on one line, with control characters escaped.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    visible(&joined(error)).into_owned()
}

/// As [`one_line`], followed by the first advice for the error or one of its causes, outermost first.
pub(crate) fn advised_line(error: &(dyn Error + 'static), advise: Advise) -> String {
    let mut text = joined(error);
    if let Some(advice) = chain(error).find_map(advise) {
        // Writing to a string does not fail.
        let _ = write!(text, "; {advice}");
    }
    visible(&text).into_owned()
}

fn joined(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    texts.join(": ")
}

/// The error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Gives a failed step its exit code.
pub trait OrExit<T> {
    /// Turns an error into a [`Failure`] with this exit code.
    ///
    /// # Errors
    /// The failure.
    fn or_exit(self, code: u8) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: u8) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {0}")]
    struct Outer(String, #[source] std::io::Error);

    fn advise(error: &(dyn Error + 'static)) -> Option<String> {
        match error.downcast_ref::<std::io::Error>()?.kind() {
            std::io::ErrorKind::NotFound => Some("look for it\n".to_owned()),
            _ => None,
        }
    }

    const DEFINITION: Definition = Definition {
        name: "ec2-x",
        advise,
        ..Definition::EMPTY
    };

    #[test]
    fn several_problems_are_all_told_and_the_first_gives_the_code() {
        assert!(Failure::all(Vec::new()).is_ok());
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let problems = vec![
            Failure::new(254, Outer("a".to_owned(), missing)),
            Failure::usage("--b is wrong"),
        ];
        let lines: Vec<String> = problems.iter().map(|one| bare_line(one, advise)).collect();
        assert_eq!(
            lines,
            [
                "cannot read a: entity not found; look for it\\n",
                "--b is wrong"
            ]
        );
        let failure = Failure::all(problems).unwrap_err();
        assert_eq!(failure.code, 254);
        assert_eq!(
            failure.text(&DEFINITION, DEFINITION.name),
            "ERROR: cannot read a: entity not found; look for it\\n\n--b is wrong\nTry 'ec2-x --help'\n"
        );
    }

    #[test]
    fn the_first_advice_of_the_chain_follows_the_facts() {
        let outer = |kind: std::io::ErrorKind| Outer("it".to_owned(), kind.into());
        let text = |failure: Failure| failure.text(&DEFINITION, DEFINITION.name);
        let missing = || outer(std::io::ErrorKind::NotFound);
        let facts = "cannot read it: entity not found; look for it\\n";
        assert_eq!(
            text(Failure::new(254, missing())),
            format!("ERROR: {facts}\n")
        );
        assert_eq!(
            text(Failure::usage(missing())),
            format!("{facts}\nTry 'ec2-x --help'\n")
        );
        let done = Failure::new(254, missing()).after("bundle".as_ref());
        assert_eq!(
            text(done),
            format!("ERROR: bundle is complete, but what followed failed: {facts}\n")
        );
        assert_eq!(
            text(Failure::new(254, outer(std::io::ErrorKind::Other))),
            "ERROR: cannot read it: other error\n"
        );
    }

    #[test]
    fn each_kind_is_told_in_its_way() {
        let told = |failure: Failure| (failure.code, failure.text(&DEFINITION, DEFINITION.name));
        assert_eq!(
            told(Failure::usage("missing mandatory parameter: --cert")),
            (
                1,
                "missing mandatory parameter: --cert\nTry 'ec2-x --help'\n".into()
            )
        );
        let cause = std::io::Error::other("no\nluck");
        assert_eq!(
            told(Failure::new(254, Outer("a\u{1b}[31m".into(), cause))),
            (254, "ERROR: cannot read a\\u{1b}[31m: no\\nluck\n".into())
        );
        assert_eq!(
            told(Failure::usage("--prefix has invalid value 'a\nERROR: b'")).1,
            "--prefix has invalid value 'a\\nERROR: b'\nTry 'ec2-x --help'\n"
        );
        assert_eq!(
            told(Failure::interrupted()),
            (255, "ec2-x interrupted.\n".into())
        );
        assert_eq!(told(Failure::silent(0)), (0, String::new()));
    }
}
