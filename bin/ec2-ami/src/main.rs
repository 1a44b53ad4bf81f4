//! Makes EBS-backed AMIs, and looks after them.

mod access;
mod asking;
mod bundle_outcome;
mod clean;
mod create;
mod create_report;
mod delete;
mod exit;
mod fetch;
mod in_s3;
mod manual;
mod offer;
mod outcome;
mod problems;
mod register;
mod reporter;
mod running;
mod shell;
mod state;
mod values;
mod volume;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Subcommand;

use crate::manual::DEFINITION;

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes an EBS-backed AMI
    #[command(override_usage = "ec2-ami create FROM --name NAME [OPTIONS]")]
    Create(Box<create::Arguments>),
    /// Fetches a snapshot, or that of an AMI, to a disk image
    #[command(override_usage = "ec2-ami fetch SNAPSHOT|AMI FILE [OPTIONS]")]
    Fetch(fetch::Arguments),
    /// Registers an uploaded bundle as an instance store-backed AMI
    #[command(override_usage = "ec2-ami register MANIFEST --name NAME [OPTIONS]")]
    Register(Box<register::Arguments>),
    /// Deregisters an AMI and deletes its snapshots, after it has shown them and asked
    #[command(override_usage = "ec2-ami delete AMI [OPTIONS]")]
    Delete(delete::Arguments),
    /// Deletes snapshots that interrupted runs have left behind, after it has shown them and asked
    #[command(override_usage = "ec2-ami clean [OPTIONS]")]
    Clean(clean::Arguments),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if ami_volume::keep(&arguments) {
        return ExitCode::SUCCESS;
    }
    ami_cli::run_verbs(&DEFINITION, |verb, context| match verb {
        Verb::Create(arguments) => create::run(*arguments, context),
        Verb::Fetch(arguments) => fetch::run(arguments, context),
        Verb::Register(arguments) => register::run(*arguments, context),
        Verb::Delete(arguments) => delete::run(arguments, context),
        Verb::Clean(arguments) => clean::run(arguments, context),
    })
}
