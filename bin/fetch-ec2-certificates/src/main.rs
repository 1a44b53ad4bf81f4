//! Installs EC2's public certificates, with which bundles are encrypted for EC2.

mod archive;
mod args;
mod certificate;
mod error;
mod fingerprint;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use ami_cli::one_line;
use ami_files::LimitReader;
use clap::Parser;
use clap::error::ErrorKind;

use crate::archive::Found;
use crate::args::Arguments;
use crate::certificate::Certificate;
use crate::error::Error;
use crate::fingerprint::Fingerprint;

/// AWS's own zip of the older suite.
const URL: &str = "https://s3.amazonaws.com/ec2-downloads/ec2-ami-tools.zip";

/// The certificates' mode: everybody may read them.
const MODE: u32 = 0o644;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            // Fails only if the reader has closed the pipe.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            return failed(line.strip_prefix("error: ").unwrap_or(line));
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&one_line(&error)),
    }
}

fn failed(line: &str) -> ExitCode {
    // If this fails, there is still the exit code.
    let _ = writeln!(
        io::stderr(),
        "fetch-ec2-certificates: {}",
        ami_cli::visible(line)
    );
    ExitCode::FAILURE
}

/// Checks all certificates before it installs any.
fn run(arguments: &Arguments) -> Result<(), Error> {
    let (zip, name) = match &arguments.zip {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (download()?, URL.to_owned()),
    };
    let Found {
        certificates,
        skipped,
    } = archive::certificates(&zip, &name)?;
    for line in skipped {
        say(&line)?;
    }
    let is_there = |wanted: &Fingerprint| {
        certificates
            .values()
            .any(|certificate| certificate.fingerprint() == *wanted)
    };
    if let Some(missing) = arguments.accept.iter().find(|wanted| !is_there(wanted)) {
        return Err(Error::NotThere {
            zip: name,
            fingerprint: *missing,
        });
    }
    let (mut install, mut ask) = (Vec::new(), Vec::new());
    for (file, certificate) in &certificates {
        let found = certificate.fingerprint();
        match Fingerprint::known(file) {
            _ if arguments.accept.contains(&found) => install.push((file, certificate)),
            Some(known) if known == found => install.push((file, certificate)),
            Some(known) => {
                return Err(Error::NotEc2s {
                    zip: name,
                    file: file.clone(),
                    found,
                    known,
                });
            }
            None => ask.push((file, certificate)),
        }
    }
    if !ask.is_empty() && are_wanted(&ask)? {
        install.append(&mut ask);
    }
    let directory = &arguments.directory;
    fs::create_dir_all(directory).map_err(cannot_write(directory))?;
    for (file, certificate) in install {
        let path = directory.join(file);
        write(directory, file, certificate).map_err(cannot_write(&path))?;
        say(&format!("Installed {}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut zip = Vec::new();
    let read = File::open(path)
        .and_then(|file| LimitReader::new(file, archive::MOST_BYTES).read_to_end(&mut zip));
    match read {
        Ok(_) => Ok(zip),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(Error::TooLarge(path.display().to_string()))
        }
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn download() -> Result<Vec<u8>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let document = runtime.block_on(ami_aws::document(URL, archive::MOST_BYTES));
    document.map_err(|source| Error::Download { url: URL, source })
}

/// Shows unknown certificates, and asks whether to install them.
fn are_wanted(certificates: &[(&String, &Certificate)]) -> Result<bool, Error> {
    say("These certificates are not known here:")?;
    for (file, certificate) in certificates {
        say(file)?;
        for line in certificate.lines() {
            say(&format!("    {line}"))?;
        }
    }
    print("Install them too? [y/N] ")?;
    let mut answer = String::new();
    let length = io::stdin()
        .read_line(&mut answer)
        .map_err(Error::Terminal)?;
    if length == 0 {
        say("")?;
    }
    let is_yes = answer.trim_start().starts_with(['y', 'Y']);
    if !is_yes {
        say("Left out. To install one, give its fingerprint with --accept.")?;
    }
    Ok(is_yes)
}

/// Writes under another name first, so that programs that read the folder meanwhile see a whole file.
fn write(directory: &Path, file: &str, certificate: &Certificate) -> io::Result<()> {
    let new = directory.join(format!(".{file}.new"));
    let written =
        write_new(&new, certificate).and_then(|()| fs::rename(&new, directory.join(file)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(path: &Path, certificate: &Certificate) -> io::Result<()> {
    // Left by an interrupted run.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(certificate.pem().as_bytes())?;
    file.sync_all()
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write { path, source }
}

fn say(line: &str) -> Result<(), Error> {
    print(&format!("{}\n", ami_cli::visible(line)))
}

fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written
        .and_then(|()| stdout.flush())
        .map_err(Error::Terminal)
}
