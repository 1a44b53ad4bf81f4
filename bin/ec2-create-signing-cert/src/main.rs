//! Makes a key and certificate to sign EC2 bundles with.

mod args;

use std::path::PathBuf;
use std::process::ExitCode;

use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::{Certificate, CertificateInfo, NewIdentity};
use ami_parts::NewFile;
use serde::Serialize;

use crate::args::{Arguments, DEFINITION};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The names of the files in the private folder.
const KEY: &str = "key";
const CERTIFICATE: &str = "certificate";

/// What was made, for `--json`.
#[derive(Debug, Serialize)]
struct Report {
    private_key: PathBuf,
    certificate: PathBuf,
    /// Of the certificate's DER form.
    sha256: String,
    not_after: String,
}

fn main() -> ExitCode {
    ami_cli::run(&DEFINITION, create)
}

fn create(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let Arguments {
        destination,
        days,
        bits,
        cn,
    } = arguments;
    let key_name = format!("pk-{cn}.pem");
    let certificate_name = format!("cert-{cn}.pem");
    for name in [&key_name, &certificate_name] {
        let path = destination.join(name);
        if path.symlink_metadata().is_ok() {
            let text = format!(
                "{} already exists: choose another --cn or --destination",
                path.display()
            );
            return Err(Failure::new(exit::ALREADY_THERE, text));
        }
    }
    let new = NewIdentity::generate(bits, days, &cn).or_exit(exit::OTHER)?;
    let made = Certificate::parse(&new.certificate).or_exit(exit::OTHER)?;
    let staging = context.staging(&destination).or_exit(exit::OTHER)?;
    staging
        .write(KEY, &new.private_key, SECRET)
        .or_exit(exit::OTHER)?;
    staging
        .write(CERTIFICATE, &new.certificate, PUBLIC)
        .or_exit(exit::OTHER)?;
    let report = Report {
        private_key: destination.join(&key_name),
        certificate: destination.join(&certificate_name),
        sha256: new.fingerprint,
        not_after: new.not_after,
    };
    let files = [
        NewFile::fresh(KEY, key_name),
        NewFile::fresh(CERTIFICATE, certificate_name),
    ];
    let saved = staging.publish(&files, None, context.waiting());
    context.warn_of_saved(&saved.or_exit(exit::OTHER)?);
    drop(staging);
    let said = if context.is_json() {
        context.print_json(&report)
    } else {
        say(&report, made.info(), context)
    };
    said.map_err(|failure| failure.after(&report.certificate))
}

fn say(report: &Report, info: Option<&CertificateInfo>, context: &Context) -> Result<(), Failure> {
    let (key, certificate) = (report.private_key.display(), report.certificate.display());
    context.say(&format!("Private key: {key}"))?;
    context.say(&format!("Certificate: {certificate}"))?;
    if let Some(info) = info {
        context.say(&format!("  {info}"))?;
    }
    context.say(&format!("  SHA-256 {}", report.sha256))?;
    context.say("")?;
    context.say("Keep a copy of the private key where it is safe: without it bundles cannot be read. To make one, as root:")?;
    context.say(&format!(
        "  ec2-bundle-vol -k {key} -c {certificate} -u ACCOUNT -r x86_64 -d /mnt --batch"
    ))
}
