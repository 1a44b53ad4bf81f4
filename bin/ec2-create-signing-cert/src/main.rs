//! Makes the key and certificate that EC2 bundles are signed with.

mod args;

use std::fs::{File, remove_file};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ami_cli::{Context, Failure, OrExit, exit};
use ami_manifest::NewIdentity;
use serde::Serialize;

use crate::args::{Arguments, DEFINITION};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

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
        json,
        ..
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
    let staging = context.staging(&destination).or_exit(exit::OTHER)?;
    write(&staging.path().join(&key_name), &new.private_key, SECRET)?;
    write(
        &staging.path().join(&certificate_name),
        &new.certificate,
        PUBLIC,
    )?;
    let key = staging
        .give_name(&key_name, &key_name)
        .or_exit(exit::OTHER)?;
    let certificate = staging.give_name(&certificate_name, &certificate_name);
    if certificate.is_err() {
        let _ = remove_file(&key);
    }
    let certificate = certificate.or_exit(exit::OTHER)?;

    if json {
        return context.print_json(&Report {
            private_key: key,
            certificate,
            sha256: new.fingerprint,
            not_after: new.not_after,
        });
    }
    let (key, certificate) = (key.display(), certificate.display());
    context.say(&format!("Private key: {key}"))?;
    context.say(&format!("Certificate: {certificate}"))?;
    context.say(&format!("  SHA-256 {}", new.fingerprint))?;
    context.say(&format!("  good until {}", new.not_after))?;
    context.say("")?;
    context.say("Keep a copy of the private key where it is safe: without it bundles cannot be read. To make one, as root:")?;
    context.say(&format!(
        "  ec2-bundle-vol -k {key} -c {certificate} -u ACCOUNT -r x86_64 -d /mnt --batch"
    ))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut options = File::options();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let written: std::io::Result<()> = write();
    written.map_err(|error| {
        Failure::new(
            exit::OTHER,
            format!("cannot write {}: {error}", path.display()),
        )
    })
}
