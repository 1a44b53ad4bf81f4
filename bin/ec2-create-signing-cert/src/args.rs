//! The command's arguments, what its manual says, and its advice.

use std::error::Error;
use std::path::PathBuf;

use ami_cli::{Definition, advice, values};

const KEY: &str = "The key and certificate";

/// The most days: a hundred years.
const MOST_DAYS: u32 = 36_500;

/// RFC 5280, `ub-common-name`.
const LONGEST_NAME: usize = 64;

pub const DEFINITION: Definition = Definition {
    name: "ec2-create-signing-cert",
    summary: "makes a key and certificate to sign EC2 bundles with",
    usage: "[-d DIR] [--days N] [--bits 2048|3072|4096] [--cn NAME]",
    notice: None,
    description: &[
        "Makes an RSA private key, pk-NAME.pem, which only you can read, and a certificate for it, cert-NAME.pem, signed with SHA-256. No \
         file is overwritten.",
        "Anyone who has the private key can read every bundle that is made with it, and nobody can without it. Keep a copy in a safe \
         place, and out of images: ec2-bundle-vol leaves *.pem out.",
        "EC2 accepts a certificate that is registered with your account: upload it with `aws iam upload-signing-certificate`.",
    ],
    exit_codes: &[
        ("0", "The key and the certificate are complete."),
        ("1", "The command line is wrong."),
        ("2", "A file of the same name exists already."),
        ("254", "Any other failure: the folder cannot be written."),
        ("255", "Interrupted."),
    ],
    files: &[
        ("pk-NAME.pem", "The private key: PEM, PKCS#8, mode 0600."),
        ("cert-NAME.pem", "The certificate: PEM, X.509."),
    ],
    examples: &[
        (
            "A key and certificate in this folder",
            "ec2-create-signing-cert",
        ),
        (
            "For the web servers, for two years",
            "ec2-create-signing-cert -d /root/keys --cn web --days 730 --bits 4096",
        ),
    ],
    see_also: &["ec2-bundle-vol(1)", "ec2-bundle-image(1)"],
    advise,
};

fn advise(error: &(dyn Error + 'static)) -> Option<String> {
    advice::of_files(error, Some("--destination"), Some("--cn"))
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder for both files
    #[arg(short = 'd', long, value_name = "DIR", default_value = ".", value_parser = values::existing_folder, help_heading = KEY)]
    pub destination: PathBuf,
    /// Days that the certificate is valid
    #[arg(long, value_name = "N", default_value = "3650", value_parser = days, help_heading = KEY)]
    pub days: u32,
    /// The key's size
    #[arg(long, value_name = "BITS", default_value = "2048", value_parser = bits, help_heading = KEY)]
    pub bits: u32,
    /// The certificate's common name, and part of the file names
    #[arg(long, value_name = "NAME", default_value = "ec2-ami-tools", value_parser = name, help_heading = KEY)]
    pub cn: String,
}

fn days(text: &str) -> Result<u32, String> {
    let number = text.parse().ok();
    number
        .filter(|days| (1..=MOST_DAYS).contains(days))
        .ok_or_else(|| format!("a number from 1 to {MOST_DAYS} is needed."))
}

fn bits(text: &str) -> Result<u32, String> {
    match text {
        "2048" => Ok(2048),
        "3072" => Ok(3072),
        "4096" => Ok(4096),
        _ => Err("Please specify one of these values: 2048, 3072, 4096".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(is_plain) {
        return Err(format!(
            "up to {LONGEST_NAME} letters, digits and -_.@ are needed."
        ));
    }
    Ok(text.to_owned())
}
