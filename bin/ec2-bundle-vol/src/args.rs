//! The command's arguments and what its manual says.

use std::path::PathBuf;

use ami_cli::markers::{LiftsMandatory, New, Shape};
use ami_cli::{
    BundleOptions, CompressionOptions, Definition, IdentityIfNeeded, RunningOptions, values,
};
use ami_volume_cli::{ImageOptions, SelectionOptions};
use clap::ArgAction::SetTrue;

use crate::advice::advise;

const VOLUME: &str = "The volume";
const IMAGE: &str = "The image and its bundle";
const RUNNING: &str = "Performance and output";

pub const DEFINITION: Definition = Definition {
    name: "ec2-bundle-vol",
    summary: "copies a volume into a bootable image, and makes an EC2 bundle of it",
    usage: "-c CERT -k KEY -u ACCOUNT [OPTIONS]",
    notice: None,
    description: &[
        "Run as root on an instance, it copies the root volume, or another mounted volume, into an image file, installs the volume's boot \
         loader in it, and bundles it. The image's file system has the kind, label and UUID of the volume's. This machine must have the \
         programs that make such a file system (mke2fs, mkfs.xfs, mkfs.btrfs) and GRUB's grub-mkimage or, for GRUB Legacy, its shell. \
         It needs no device mapper, no partitioning program and no udev.",
        "Programs of a volume that is not this machine's root are not run: they belong to its owner. --use-volume-tools runs those that \
         this machine lacks, without capabilities or network, unable to see other processes, and with a read-only view of the volume. \
         --dry-run never runs them.",
        "Everything is checked before anything is made. --dry-run shows the whole plan and lists every problem in it, one a line on \
         standard error, and in the list 'problems' with --json; its exit code is that of the first problem. It does not need root, \
         nor -c, -k and -u; if these are given, the certificates, the key and the instance's metadata are checked as well. The volume \
         itself is never written to. Whatever happens, no mount and no loop device is left behind.",
        "The default partition type is that of the volume's disk. A volume that is a bare file system gives an image without partitions, \
         and a folder that is not a mount point gives gpt. mbr and gpt images boot with GRUB 2 or GRUB Legacy, whichever the volume has. \
         An image without partitions is for paravirtual instances.",
        "Everything on the volume is copied, and on mounts of local file systems below it (ext2, ext3, ext4, xfs, jfs, reiserfs, btrfs). \
         Left out are the contents of /dev, /media, /mnt, /proc and /sys; those of other mounts (such as a tmpfs on /run or /tmp) unless \
         --all is given; this run's own files; the private key of -k under any name; what --exclude names; and files that look like \
         secrets or leftovers: */#*# */.#* *.sw *.swo *.swp *~ *.pem *.priv *id_rsa* *id_dsa* *.gpg *.jks */.ssh/authorized_keys \
         */.bash_history. That list also matches files that a system needs, such as CA certificates: --include keeps single files, \
         --no-filter drops the list.",
        "Patterns are rsync's, separated by commas. A pattern with a slash at the beginning matches from the volume's root, any other at \
         the end of a path; * and ? match within a name, ** across slashes. A pattern must match something.",
        "--generate-fstab writes the older suite's table for the architecture (/dev/sda1 as the root) if the image has no partitions. A \
         partitioned image gets a table that mounts the root by its UUID, whatever the disk is called. The previous table is kept as \
         fstab.old.",
        "The manifest inherits from the instance: its image and that image's ancestors, kernel, RAM disk, product codes, block devices. \
         Options override it. Outside EC2, give --no-inherit.",
        "Options may be shortened to an unambiguous prefix. If an option is given twice, the last one counts, except for -B.",
    ],
    exit_codes: &[
        (
            "0",
            "The image and its bundle are complete; or a question was answered with no, and nothing was done.",
        ),
        (
            "1",
            "The command line is wrong; a program that is needed is missing or failed; the image is too small; reading or writing failed.",
        ),
        ("2", "EC2's certificate was not found."),
        ("5", "A question was not answered within 30 seconds."),
        (
            "12",
            "The instance's metadata cannot be reached, and --no-inherit was not given.",
        ),
        (
            "254",
            "Not root; the image file exists already; the size is over 10240 MB; a key or certificate cannot be used.",
        ),
        ("255", "Interrupted."),
    ],
    files: &[
        (
            "/etc/ec2/amitools/cert-ec2.pem",
            "EC2's certificate. One for the region alone, cert-ec2-REGION.pem, comes first; us-gov-* have cert-ec2-gov.pem, cn-* cert-ec2-cn.pem or \
             cert-ec2-cn-north-1.pem. The region is that of --region, or of the instance, where its metadata is inherited.",
        ),
        (
            "EC2_AMITOOL_HOME, EC2_HOME",
            "Folders below which etc/ec2/amitools is looked for first. Last comes /opt/aws/amitools/ec2.",
        ),
        (
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "Where the instance metadata service is, if not at its usual address.",
        ),
        (
            "/dev/loop-control",
            "Loop devices, of which one is used at a time.",
        ),
    ],
    examples: &[
        (
            "See what would be done",
            "ec2-bundle-vol --dry-run -d /mnt/bundle",
        ),
        (
            "Bundle the root volume of an instance",
            "ec2-bundle-vol -c cert.pem -k pk.pem -u 123456789012 -d /mnt/bundle -e /root/keys --batch",
        ),
        (
            "Make a bootable image from a folder with a system, without a bundle",
            "ec2-bundle-vol --clone-only -v /srv/debian -d /mnt -p debian.img -P gpt --no-inherit --batch",
        ),
    ],
    see_also: &[
        "ec2-bundle-image(1)",
        "ec2-unbundle(1)",
        "ec2-verify-bundle(1)",
        "rsync(1)",
    ],
    advise,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub identity: IdentityIfNeeded,
    /// The volume: the folder where it is mounted
    #[arg(short = 'v', long, value_name = "DIR", default_value = "/", value_parser = values::existing_folder, help_heading = VOLUME)]
    pub volume: PathBuf,
    #[command(flatten)]
    pub selection: SelectionOptions,
    /// The image's size in MB
    #[arg(short = 's', long, value_name = "MB", default_value = "10240", allow_negative_numbers = true, add = Shape::Integer, help_heading = IMAGE)]
    pub size: i64,
    #[command(flatten)]
    pub image: ImageOptions,
    /// Make the image only, no bundle
    #[arg(long, action = SetTrue, add = LiftsMandatory, help_heading = IMAGE)]
    pub clone_only: bool,
    /// Remove the image when its bundle is complete
    #[arg(long, action = SetTrue, add = New, help_heading = IMAGE)]
    pub no_keep_image: bool,
    #[command(flatten)]
    pub bundle: BundleOptions,
    /// Inherit from the instance's metadata (the default)
    #[arg(long, action = SetTrue, overrides_with = "no_inherit", help_heading = IMAGE)]
    pub inherit: bool,
    /// Inherit nothing (needed outside EC2)
    #[arg(long, action = SetTrue, overrides_with = "inherit", help_heading = IMAGE)]
    pub no_inherit: bool,
    /// Show what would be done, and do nothing
    #[arg(long, action = SetTrue, add = New, add = LiftsMandatory, help_heading = RUNNING)]
    pub dry_run: bool,
    #[command(flatten)]
    pub compression: CompressionOptions,
    #[command(flatten)]
    pub running: RunningOptions,
}
