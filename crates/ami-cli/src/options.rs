//! Groups of options that commands share.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ami_bundle::Level;
use clap::ArgAction::SetTrue;
use clap::error::Error;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::markers::{New, Order, Shape};
use crate::values::{self, Mapping};

const COMMON: &str = "Common options";
const KEYS: &str = "Keys and account";
const IMAGE: &str = "The image and its bundle";
const RUNNING: &str = "Performance and output";

/// Options that every command has.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonOptions {
    /// Print one JSON object in place of the status lines; asks nothing
    #[arg(long, action = SetTrue, add = New, help_heading = RUNNING, display_order = 890)]
    pub json: bool,
    /// Ask nothing: take the default answers
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 900)]
    pub batch: bool,
    /// Log each step to standard error
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 901)]
    pub debug: bool,
    /// Print this help
    #[arg(short = 'h', long, action = SetTrue, help_heading = COMMON, display_order = 902)]
    pub help: bool,
    /// Print the manual page
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 903)]
    pub manual: bool,
    /// Print the version
    #[arg(long, action = SetTrue, help_heading = COMMON, display_order = 904)]
    pub version: bool,
}

/// The keys and the account of a bundle's maker, and EC2's certificate.
#[derive(Debug, Clone, Args)]
pub struct KeyOptions {
    /// Your X.509 certificate, PEM or DER
    #[arg(short = 'c', long, value_name = "CERT", value_parser = values::existing_file, add = Order(2), help_heading = KEYS)]
    pub cert: PathBuf,
    /// Your RSA private key, PEM or DER, without a passphrase
    #[arg(short = 'k', long, value_name = "KEY", value_parser = values::existing_file, add = Order(3), help_heading = KEYS)]
    pub privatekey: PathBuf,
    /// Your AWS account: 12 digits, hyphens allowed
    #[arg(short = 'u', long, value_name = "ACCOUNT", value_parser = values::account, add = Order(4), help_heading = KEYS)]
    pub user: String,
    /// EC2's certificate [default: searched for, see the manual]
    #[arg(long, value_name = "CERT", value_parser = values::existing_file, help_heading = KEYS)]
    pub ec2cert: Option<PathBuf>,
}

/// The identity of a bundle's maker.
#[derive(Debug, Clone, Args)]
pub struct IdentityOptions {
    /// Keys and account.
    #[command(flatten)]
    pub keys: KeyOptions,
    /// The region where the bundle will be used; some have their own EC2 certificate
    #[arg(long, value_name = "REGION", add = New, add = Shape::TextOrNothing, help_heading = KEYS)]
    pub region: Option<String>,
}

/// The same, for a command with a flag that [lifts](crate::markers::LiftsMandatory) mandatory options, so that any may be missing.
#[derive(Debug, Clone)]
pub struct IdentityIfNeeded {
    /// The private key, which can be given alone.
    pub privatekey: Option<PathBuf>,
    /// All of it, if nothing mandatory is missing.
    pub identity: Option<IdentityOptions>,
}

impl Args for IdentityIfNeeded {
    fn augment_args(command: Command) -> Command {
        IdentityOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        IdentityOptions::augment_args_for_update(command)
    }
}

impl FromArgMatches for IdentityIfNeeded {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            privatekey: matches.get_one("privatekey").cloned(),
            identity: IdentityOptions::from_arg_matches(matches).ok(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A bundle's folder, its name, and the contents of its manifest.
#[derive(Debug, Clone, Args)]
pub struct BundleOptions {
    /// The folder for the bundle
    #[arg(short = 'd', long, value_name = "DIR", default_value = "/tmp", value_parser = values::existing_folder, help_heading = IMAGE)]
    pub destination: PathBuf,
    /// Its name and its manifest.
    #[command(flatten)]
    pub manifest: ManifestOptions,
}

/// A bundle's name, and the contents of its manifest.
#[derive(Debug, Clone, Args)]
pub struct ManifestOptions {
    /// The bundle's name [default: the image's file name]
    #[arg(short = 'p', long, value_name = "NAME", value_parser = values::prefix, help_heading = IMAGE)]
    pub prefix: Option<String>,
    /// x86_64 or i386 [default: asked for; the machine's with --batch]
    #[arg(short = 'r', long, value_name = "ARCH", help_heading = IMAGE)]
    pub arch: Option<String>,
    /// The kernel to boot the image with
    #[arg(long, value_name = "AKI", add = Shape::TextOrNothing, help_heading = IMAGE)]
    pub kernel: Option<String>,
    /// The RAM disk to boot the image with
    #[arg(long, value_name = "ARI", add = Shape::TextOrNothing, help_heading = IMAGE)]
    pub ramdisk: Option<String>,
    /// Block devices: VIRTUAL=DEVICE,…; may be repeated
    #[arg(short = 'B', long, value_name = "MAPPING", value_parser = values::mapping, action = clap::ArgAction::Append, help_heading = IMAGE)]
    pub block_device_mapping: Option<Vec<Mapping>>,
    /// A product code
    #[arg(long, value_name = "CODE", help_heading = IMAGE)]
    pub productcodes: Option<String>,
    /// Allow images over 10 GiB, and possibly too little free space
    #[arg(long, action = SetTrue, help_heading = IMAGE)]
    pub no_size_checks: bool,
}

impl ManifestOptions {
    /// All `-B` combined: the last entry for a name counts. `None` if there is none.
    pub fn mapping(&self) -> Option<Mapping> {
        let given = self.block_device_mapping.as_ref()?;
        let entries = given.iter().flat_map(|Mapping(map)| map.clone());
        Some(Mapping(entries.collect()))
    }
}

/// How the work is done.
#[derive(Debug, Clone, Args)]
pub struct RunningOptions {
    /// How many threads to use [default: one per processor]
    #[arg(long, value_name = "N", value_parser = values::threads, add = New, help_heading = RUNNING)]
    threads: Option<NonZeroUsize>,
}

impl RunningOptions {
    /// The given number, or the number of processors that this process may use.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

/// How hard a bundle is compressed.
#[derive(Debug, Clone, Args)]
pub struct CompressionOptions {
    /// 1 (fastest) to 12 (smallest) [default: 5 and 6 mixed]
    #[arg(long, value_name = "LEVEL", value_parser = values::level, add = New, help_heading = RUNNING)]
    pub compression_level: Option<Level>,
}
