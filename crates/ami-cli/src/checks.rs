//! The report of a bundle's checks.

use ami_bundle::{Check, Fault, Finding, Outcome, Reason, Subject};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// The outcome of every check.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// Whether all checks that could be done passed.
    pub holds: bool,
    checks: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    result: Word,
    /// What was found; for a failure, one entry for each thing that is wrong.
    details: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Ok,
    Failed,
    NotChecked,
}

impl CheckReport {
    /// The report of these checks.
    pub fn new(checks: &[Check], context: &Context) -> Self {
        let line = |check: &Check| {
            let (result, details) = match &check.outcome {
                Outcome::Holds(found) => (Word::Ok, vec![found_text(found)]),
                Outcome::Fails(faults) => {
                    let texts = faults.iter().map(|fault| fault_text(fault, context));
                    (Word::Failed, texts.collect())
                }
                Outcome::NotChecked(why) => (Word::NotChecked, vec![why_not(*why).to_owned()]),
            };
            Line {
                check: name(check.subject),
                result,
                details,
            }
        };
        let checks: Vec<Line> = checks.iter().map(line).collect();
        Self {
            holds: checks.iter().all(|line| line.result != Word::Failed),
            checks,
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, context: &Context) -> Result<(), Failure> {
        if context.is_json() {
            return context.print_json(self);
        }
        self.lines().iter().try_for_each(|line| context.say(line))
    }

    /// A line for each check, and another for each further fault.
    fn lines(&self) -> Vec<String> {
        self.checks
            .iter()
            .flat_map(|line| {
                let word = match line.result {
                    Word::Ok => "ok",
                    Word::Failed => "FAILED",
                    Word::NotChecked => "not checked",
                };
                let details = line.details.iter().enumerate();
                details.map(move |(index, detail)| {
                    let (name, word) = if index == 0 {
                        (line.check, word)
                    } else {
                        ("", "")
                    };
                    format!("{name:<10} {word:<12} {detail}")
                })
            })
            .collect()
    }
}

fn name(subject: Subject) -> &'static str {
    match subject {
        Subject::Manifest => "manifest",
        Subject::Parts => "parts",
        Subject::Sizes => "sizes",
        Subject::Digests => "digests",
        Subject::Signature => "signature",
        Subject::Stream => "stream",
    }
}

fn found_text(found: &Finding) -> String {
    match found {
        Finding::Manifest {
            name,
            size: Some(size),
        } => format!("{name}, {size} bytes of image"),
        Finding::Manifest { name, size: None } => format!("{name}, an image of unknown size"),
        Finding::Parts(count) => format!("{count} of {count} are there"),
        Finding::Sizes(bytes) => format!("{bytes} bytes in all"),
        Finding::Digests { of_all: true } => "SHA-1 of every part".to_owned(),
        Finding::Digests { of_all: false } => "SHA-1 of every part that is there".to_owned(),
        Finding::Signature(None) => "that of the certificate's owner".to_owned(),
        Finding::Signature(Some(info)) => format!("that of the certificate's owner: {info}"),
        Finding::Stream(name) => format!("it is the image {name}, as it was bundled"),
    }
}

fn fault_text(fault: &Fault, context: &Context) -> String {
    match fault {
        Fault::Manifest(error) => context.explained(error),
        Fault::Part(error) => context.explained(error),
        Fault::Stream(error) => context.explained(error),
        fault => context.explained(fault),
    }
}

fn why_not(reason: Reason) -> &'static str {
    match reason {
        Reason::NoManifest => "the manifest cannot be read",
        Reason::PartIsBad => "a part is missing or damaged",
        Reason::NotInManifest => "the manifest does not say them",
        Reason::NoCertificate => "give the certificate with -c",
        Reason::NoKey => "give the private key with -k",
        Reason::PartsFail => "its parts are missing or damaged",
    }
}
