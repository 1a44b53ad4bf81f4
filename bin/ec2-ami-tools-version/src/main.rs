//! Prints the version. As in the older suite, arguments are ignored.

use std::process::ExitCode;

use ami_cli::Definition;

const DEFINITION: Definition = Definition {
    name: "ec2-ami-tools-version",
    summary: "prints the version of the EC2 AMI tools",
    usage: "",
    notice: None,
    description: &[
        "Prints, on the first line, the older suite's release whose behaviour these commands have and the date of the manifest format, \
         which scripts read; then what these commands are and their own version. Arguments are ignored.",
    ],
    exit_codes: &[("0", "Always.")],
    files: &[],
    examples: &[("Print the version", "ec2-ami-tools-version")],
    see_also: &[
        "ec2-bundle-image(1)",
        "ec2-unbundle(1)",
        "ec2-verify-bundle(1)",
    ],
    advise: |_| None,
};

fn main() -> ExitCode {
    ami_cli::run_without_arguments(&DEFINITION, |context| {
        context.say(ami_cli::COMPATIBLE_VERSION)?;
        context.say(ami_cli::OWN_VERSION)
    })
}
