//! What the command's manual says besides its options.

use ami_cli::Definition;

use crate::outcome::advise;

pub const DEFINITION: Definition = Definition {
    name: "ec2-ami",
    summary: "makes EBS-backed AMIs of disks, volumes, bundles and snapshots, and looks after them",
    usage: "VERB [OPTIONS]",
    notice: None,
    description: &[
        "create makes an EBS-backed AMI, which every current instance type starts, without an instance, a volume or a bucket in between. Of a \
         disk image or a device it leaves out what ext2 to ext4, xfs and btrfs call free; everything else is sent, zeros too, because in an \
         encrypted volume what was never written reads as noise. A stream is sent as a whole. A device that is mounted for writing is \
         refused. Of a folder where a volume is mounted (/ is this machine's root) the imager makes a disk first, as ec2-bundle-vol(1) does, \
         as root. A bundle, in S3 or on disk, is read as one stream, and nothing of it is stored: each part is compared with the manifest's digest \
         before it is used, and the snapshot is completed only when the whole is right, or else deleted. What describes free space \
         is kept as it goes by, within 64 MiB. Of an instance store-backed AMI the new one takes after it what no option says; its name is \
         the old one with -ebs. Bundles may have software that does not know version 2 of the metadata service, so that is not demanded \
         unless --imds-v2-only is given. fetch writes a snapshot to a sparse file, which gets its name when every block is there and verified.",
        "bundle makes a bundle of a disk image, a device or a folder where a volume is mounted straight in S3: the parts are sent while \
         they are made, the manifest last. It is what ec2-bundle-image(1), or ec2-bundle-vol(1), and ec2-upload-bundle(1) put there. If it \
         fails or is interrupted, what was sent is deleted again; an older bundle of the name makes way as for an upload. EC2's \
         certificate is that of the bucket's region, unless --region or --ec2cert says otherwise; ec2-bundle-image(1) says where it is \
         looked for.",
        "register makes an instance store-backed AMI of a bundle in S3; no current instance type \
         starts one. unbundle restores the image of a bundle, straight from S3 or from disk: to a file, which gets its name when all is verified, to a \
         block device, or to standard output, where it is right only if the command ends with 0. verify checks a bundle and writes nothing. \
         delete takes an AMI away with those of its snapshots that no other AMI uses. clean deletes what runs have left behind \
         that were interrupted and not begun again.",
        "IDs are printed on standard output as soon as they exist, one a line; everything else that is of interest meanwhile on standard \
         error. --dry-run looks everything up first, asks EC2 whether these credentials are allowed to do it, shows the plan, and lists \
         every problem, one a line. That of create also has the KMS keys, and the quotas as far as these credentials can read them.",
        "A command that has failed or was interrupted can be given again: it goes on with the same snapshot, and what is there already is found \
         and not made twice. An AMI that has the name is taken for ours only if it has our snapshot. Everything that create makes has the tag \
         ec2-ami:source, a digest of what identifies the source on this machine.",
        "Copies, permissions, deprecation and protection follow when the AMI is available. Each region is by itself; what fails undoes nothing, \
         and is listed at the end with the command that does it.",
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
            "~/.local/state/ec2-ami, or $XDG_STATE_HOME/ec2-ami",
            "Which blocks of unfinished snapshots are written.",
        ),
        (
            "TMPDIR",
            "Where the disk of a volume lies while it is sent or bundled, if not in /var/tmp.",
        ),
        (
            "AWS_PROFILE, AWS_REGION, ~/.aws/config, ~/.aws/credentials",
            "As for AWS's own tools.",
        ),
        (
            "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL_EBS, AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL_SERVICE_QUOTAS, \
             AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_STS",
            "Servers in place of AWS's.",
        ),
    ],
    examples: &[
        (
            "Make an AMI of this machine",
            "ec2-ami create / --name web-1",
        ),
        (
            "See what would be made of a disk image",
            "ec2-ami create disk.img --name web-2 --dry-run",
        ),
        (
            "Make one that other accounts and another region have too",
            "ec2-ami create disk.img --name web --share 123456789012 --copy-to eu-west-1",
        ),
        (
            "Get an AMI's disk",
            "ec2-ami fetch ami-0123456789abcdef0 disk.img",
        ),
        (
            "Bundle a disk image straight to S3",
            "ec2-ami bundle disk.img s3://my-bucket/images -c cert.pem -k pk.pem -u 123456789012",
        ),
        (
            "Register an uploaded bundle",
            "ec2-ami register my-bucket/images/image.manifest.xml --name my-image",
        ),
        (
            "Restore the image of a bundle in S3",
            "ec2-ami unbundle s3://my-bucket/old/image.manifest.xml disk.img -k pk.pem",
        ),
        (
            "Check all of a bundle in S3",
            "ec2-ami verify s3://my-bucket/old/image.manifest.xml -k pk.pem -c cert.pem",
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
