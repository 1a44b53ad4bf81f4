//! What the command's manual says besides its options.

use ami_cli::Definition;

use crate::outcome::advise;

pub const DEFINITION: Definition = Definition {
    name: "ec2-ami",
    summary: "makes EBS-backed AMIs, and looks after them",
    usage: "VERB [OPTIONS]",
    notice: None,
    description: &[
        "register makes an instance store-backed AMI of a bundle that ec2-upload-bundle(1) has put into S3; no current instance type \
         starts one. delete takes an AMI away with those of its snapshots that no other AMI uses. clean deletes what runs have left behind \
         that were interrupted and not begun again.",
        "IDs are printed on standard output as soon as they exist, one a line; everything else that is of interest meanwhile on standard \
         error. --dry-run looks everything up first, asks EC2 whether these credentials are allowed to do it, shows the plan, and lists \
         every problem, one a line.",
        "A command that has failed or was interrupted can be given again: what is there already is found, and not made twice.",
        "Credentials and regions are found as AWS's own tools find them: in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
         AWS_SESSION_TOKEN, AWS_REGION), in profiles, also those that assume a role, and from the instance. --assume-role assumes a role \
         of another account with them.",
    ],
    exit_codes: &[
        ("0", "Everything is done."),
        (
            "1",
            "The command line is wrong, or there are no credentials.",
        ),
        (
            "2",
            "What is named cannot be used: it is not there, is damaged, changed, protected, or its name is taken.",
        ),
        ("3", "AWS refuses, or cannot be reached."),
        (
            "4",
            "The AMI is made, but not all copies, permissions and the like; what is left is listed, with the commands for it.",
        ),
        ("5", "The answer to a question was no, or there was none."),
        ("254", "Any other failure."),
        ("255", "Interrupted."),
    ],
    files: &[
        (
            "AWS_PROFILE, AWS_REGION, ~/.aws/config, ~/.aws/credentials",
            "As for AWS's own tools.",
        ),
        (
            "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL_EBS, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_STS",
            "Servers in place of AWS's.",
        ),
    ],
    examples: &[
        (
            "Register an uploaded bundle",
            "ec2-ami register my-bucket/images/image.manifest.xml --name my-image",
        ),
        (
            "See what goes with an AMI",
            "ec2-ami delete ami-0123456789abcdef0 --dry-run",
        ),
        ("Look for what runs have left", "ec2-ami clean"),
    ],
    see_also: &[
        "ec2-bundle-vol(1)",
        "ec2-bundle-image(1)",
        "ec2-upload-bundle(1)",
    ],
    advise,
};
