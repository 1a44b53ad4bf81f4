//! `ec2-ami create`.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ami_cli::{Context, Failure};
use ami_ec2::{BlockDeviceMapping, Tag};
use ami_lifecycle::{
    Create, Error, Journal, OldImage, Origin, Purpose, RootVolume, create, plan_create,
};
use ami_volume_cli::{ImageOptions, SelectionOptions};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::access::AccessOptions;
use crate::create_bundle::{self, BundleOptions, Found};
use crate::offer::OfferOptions;
use crate::reporter::Reporter;
use crate::running::Parallel;
use crate::volume::{self, InUseOptions, Volume};
use crate::{create_report, exit, problems, state, values};

const SOURCE: &str = "What it is made of";
const IMAGE: &str = "The AMI";
const SNAPSHOT: &str = "The snapshot and the root volume";
const RUNNING: &str = "Performance and output";

/// Standard input, as FROM.
const STDIN: &str = "-";

/// Where this process finds it under a name.
const STDIN_PATH: &str = "/proc/self/fd/0";

#[derive(Debug, Args)]
// -a is the access key's.
#[command(mut_arg("all", |arg| arg.short(None)))]
#[command(mut_args(|arg| match arg.get_help_heading() {
    Some("The image and its bundle") => arg.help_heading("The volume"),
    _ => arg,
}))]
pub struct Arguments {
    /// A disk image (raw), a block device, the folder where a volume is mounted (/), a bundle (s3://BUCKET/FOLDER/NAME.manifest.xml, or
    /// its manifest's file), an instance store-backed AMI (ami-…), - for standard input (with --size), or a snapshot (snap-…, of which
    /// nothing is copied)
    #[arg(value_name = "FROM", value_parser = values::from, help_heading = SOURCE)]
    from: String,
    /// The AMI's name [default: of an instance store-backed AMI its name with -ebs]
    #[arg(long, value_name = "NAME", value_parser = values::image_name, help_heading = IMAGE)]
    name: Option<String>,
    /// What it is, for people
    #[arg(long, value_name = "TEXT", value_parser = values::description, help_heading = IMAGE)]
    description: Option<String>,
    /// i386, x86_64 or arm64 [default: found in the image, or the bundle's]
    #[arg(long, value_name = "ARCH", value_parser = ["i386", "x86_64", "arm64"], hide_possible_values = true, help_heading = IMAGE)]
    arch: Option<String>,
    /// hvm or paravirtual
    #[arg(long, value_name = "TYPE", default_value = "hvm", value_parser = ["hvm", "paravirtual"], hide_possible_values = true, help_heading = IMAGE)]
    virtualization: String,
    /// legacy-bios, uefi or uefi-preferred [default: found in the image]
    #[arg(long, value_name = "MODE", value_parser = ["legacy-bios", "uefi", "uefi-preferred"], hide_possible_values = true, help_heading = IMAGE)]
    boot_mode: Option<String>,
    /// Whether it has ena, the network driver of current instance types: on, off or auto (found in the image; not i386, not paravirtual)
    #[arg(long, value_name = "WHETHER", default_value = "auto", value_parser = ["on", "off", "auto"], hide_possible_values = true, help_heading = IMAGE)]
    ena: String,
    /// Instances answer only to version 2 of the metadata service (the default, but not of a bundle, whose software may not know it)
    #[arg(long, action = SetTrue, overrides_with = "no_imds_v2_only", help_heading = IMAGE)]
    imds_v2_only: bool,
    /// Instances answer to all versions of it
    #[arg(long, action = SetTrue, overrides_with = "imds_v2_only", help_heading = IMAGE)]
    no_imds_v2_only: bool,
    /// Give instances a TPM 2.0; needs the boot mode uefi
    #[arg(long, action = SetTrue, help_heading = IMAGE)]
    tpm: bool,
    /// A file with the variables of UEFI in base64, as EC2 has them
    #[arg(long, value_name = "FILE", value_parser = ami_cli::values::existing_file, help_heading = IMAGE)]
    uefi_data: Option<PathBuf>,
    /// The device that it starts from [default: the bundle's, or /dev/xvda]
    #[arg(long, value_name = "DEVICE", value_parser = values::device, help_heading = IMAGE)]
    root_device_name: Option<String>,
    #[arg(help = values::MAPPING, short = 'B', long, value_name = "MAPPING", value_parser = values::mapping, help_heading = IMAGE)]
    block_device_mapping: Vec<BlockDeviceMapping>,
    /// A tag of the snapshot and the AMI: KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::tag, help_heading = IMAGE)]
    tag: Vec<Tag>,
    /// Make the snapshot only, no AMI
    #[arg(long, action = SetTrue, conflicts_with_all = ["copy_to", "share", "deprecate_after", "protect", "name"], help_heading = SNAPSHOT)]
    snapshot_only: bool,
    /// The volume's size in GiB [default: the smallest that holds the source; of a folder 10]
    #[arg(long, value_name = "GIB", value_parser = values::number::<1, 65_536>, help_heading = SNAPSHOT)]
    size: Option<u64>,
    /// The root volume's type: gp2, gp3, io1, io2 or standard
    #[arg(long, value_name = "TYPE", default_value = "gp3", value_parser = ["gp2", "gp3", "io1", "io2", "standard"], hide_possible_values = true, help_heading = SNAPSHOT)]
    volume_type: String,
    /// Its operations a second; of gp3, io1 and io2, which io1 and io2 need
    #[arg(long, value_name = "N", value_parser = values::number::<100, 256_000>, help_heading = SNAPSHOT)]
    iops: Option<u64>,
    /// Its throughput in MiB a second, of gp3
    #[arg(long, value_name = "MIB", value_parser = values::number::<125, 2_000>, help_heading = SNAPSHOT)]
    throughput: Option<u64>,
    /// Encrypt the snapshot; otherwise the account's settings say
    #[arg(long, action = SetTrue, help_heading = SNAPSHOT)]
    encrypted: bool,
    /// The KMS key that encrypts it: its ID or ARN, alias/NAME or the ARN of an alias
    #[arg(long, value_name = "KEY", value_parser = values::kms_key, help_heading = SNAPSHOT)]
    kms_key_id: Option<String>,
    #[command(flatten)]
    bundle: BundleOptions,
    #[command(flatten)]
    selection: SelectionOptions,
    #[command(flatten)]
    image: ImageOptions,
    #[command(flatten)]
    in_use: InUseOptions,
    #[command(flatten)]
    offer: OfferOptions,
    /// Read every block of the snapshot back and compare it
    #[arg(long, action = SetTrue, help_heading = RUNNING)]
    verify: bool,
    #[command(flatten)]
    parallel: Parallel,
    /// If it is interrupted, keep the snapshot, so that the same command goes on with it (the default; not of standard input or a folder)
    #[arg(long, action = SetTrue, overrides_with = "no_resume", help_heading = RUNNING)]
    resume: bool,
    /// If it is interrupted, delete the snapshot
    #[arg(long, action = SetTrue, overrides_with = "resume", help_heading = RUNNING)]
    no_resume: bool,
    /// Where it is noted which blocks are written [default: a file in ~/.local/state/ec2-ami]
    #[arg(long, value_name = "FILE", help_heading = RUNNING)]
    journal: Option<PathBuf>,
    /// Show what would be made, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = RUNNING)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessOptions,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let dry_run = arguments.dry_run;
    let again = create_report::Again::of(&arguments.access);
    let bundle = arguments.bundle.clone();
    let (mut request, volume, old) = arguments.request(context)?;
    let lost = old.as_ref().and_then(|old| bundle.problem(old));
    let flag = context.interrupted();
    let plan = |purpose| problems::looked_up(plan_create(&request, purpose, flag));
    if dry_run {
        let mut plan = plan(Purpose::Show)?;
        let Some(volume) = volume else {
            let lost = lost.into_iter().collect();
            return create_report::show_plan(plan, lost, None, context);
        };
        plan.problems.retain(is_known_before);
        let (copied, problems) = volume.problems(context)?;
        return create_report::show_plan(plan, problems, copied, context);
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    let made = match volume {
        Some(volume) => {
            // What AWS would refuse after a long copy is found before it.
            let problems = plan(Purpose::Prepare)?.problems.into_iter();
            let problems: Vec<Error> = problems.filter(is_known_before).collect();
            Failure::all(problems::of(problems))?;
            let (staging, path) = volume.make(context)?;
            let stays = false;
            let still = None;
            request.origin = Origin::Disk { path, stays, still };
            Some(staging)
        }
        None => None,
    };
    let reporter = match request.can_resume() {
        true => Reporter::new(context),
        false => Reporter::of_what_goes(context),
    };
    let distribution = request.distribution.clone();
    let created = reporter.run_on_one_thread(create(request, &reporter, flag));
    drop(made);
    let created = created?;
    create_report::show(&created, &distribution, &again, context)?;
    reporter.finish()?;
    match created.unfinished.is_empty() {
        true => Ok(()),
        // Everything has been told.
        false => Err(Failure::silent(exit::UNFINISHED)),
    }
}

/// Whether a problem is one before a volume's disk is made, in which the rest is looked for.
fn is_known_before(problem: &Error) -> bool {
    !matches!(
        problem,
        Error::NoArchitecture | Error::TpmWithoutUefi { .. }
    )
}

impl Arguments {
    fn request(
        self,
        context: &Context,
    ) -> Result<(Create, Option<Volume>, Option<OldImage>), Failure> {
        let folder = Path::new(&self.from);
        let is_folder = self.from != STDIN && folder.is_dir();
        let gib = self.size.unwrap_or(volume::SIZE);
        let volume = match is_folder {
            true => {
                let architecture = self.arch.as_deref();
                let (selection, image) = (&self.selection, &self.image);
                Some(Volume::new(
                    folder,
                    gib,
                    architecture,
                    selection,
                    image,
                    &self.in_use,
                )?)
            }
            false => None,
        };
        let is_device = fs::metadata(folder).is_ok_and(|found| found.file_type().is_block_device());
        if let Some(option) = self.in_use.given(is_device)
            && !is_folder
        {
            return Err(Failure::usage(format!(
                "--{option} is for the folder where a volume is mounted, and {} is none",
                self.from
            )));
        }
        let access = self.access.access(context)?;
        let found = self.bundle.find(&self.from, &self.access, &access, context);
        // A volume's disk takes this one's place when it is made.
        let (origin, old) = match found? {
            Some(Found { bundle, old }) => (Origin::Bundle(Box::new(bundle)), old),
            None if is_folder => (Origin::Stream(Box::new(std::io::empty())), None),
            None => (self.origin(is_device, context)?, None),
        };
        let name = match (self.name.clone(), &old) {
            (Some(name), _) => Some(name),
            (None, _) if self.snapshot_only => None,
            (None, Some(old)) => Some(create_bundle::name_after(old)?),
            (None, None) => return Err(Failure::missing("name")),
        };
        if let Origin::Snapshot(_) = origin {
            for (is_given, option) in [
                (self.encrypted, "encrypted"),
                (self.kms_key_id.is_some(), "kms-key-id"),
                (self.verify, "verify"),
                (self.snapshot_only, "snapshot-only"),
            ] {
                if is_given {
                    return Err(Failure::usage(format!(
                        "--{option} is of a snapshot that is made, and {} is there",
                        self.from
                    )));
                }
            }
        }
        self.check_volume_type()?;
        let imds_v2_only = match origin {
            // It cannot be taken back from the AMI.
            Origin::Bundle(_) => self.imds_v2_only,
            _ => !self.no_imds_v2_only,
        };
        let uefi_data = match &self.uefi_data {
            Some(path) => Some(values::base64_file(path)?),
            None => None,
        };
        let sharing = self.offer.sharing();
        let mut create = Create {
            access,
            origin,
            name,
            description: self.description,
            architecture: self.arch,
            size: self.size.or(is_folder.then_some(gib)),
            root: RootVolume {
                volume_type: Some(self.volume_type),
                iops: self.iops,
                throughput: self.throughput,
            },
            root_device: self.root_device_name,
            devices: self.block_device_mapping,
            encrypted: self.encrypted,
            kms_key: self.kms_key_id,
            boot_mode: self.boot_mode,
            virtualization: self.virtualization,
            ena: match &*self.ena {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            },
            imds_v2_only,
            tpm: self.tpm,
            uefi_data,
            tags: self.tag,
            distribution: self.offer.distribution(self.encrypted)?,
            verify: self.verify,
            parallel: self.parallel.most(),
            resumes: !self.no_resume,
            journal: match self.journal {
                Some(file) => Journal::At(file),
                None => Journal::In(state::folder()),
            },
        };
        if let Some(old) = &old {
            create_bundle::take_after(&mut create, old, sharing, context)?;
        }
        Ok((create, volume, old))
    }

    /// What EC2 would refuse when everything is sent (EC2 API reference, "EbsBlockDevice").
    fn check_volume_type(&self) -> Result<(), Failure> {
        let kind = self.volume_type.as_str();
        let has_iops = self.iops.is_some();
        let problem = match kind {
            "io1" | "io2" if !has_iops => format!("a volume of type {kind} needs --iops"),
            "gp2" | "standard" if has_iops => format!("--iops is not for a volume of type {kind}"),
            kind if kind != "gp3" && self.throughput.is_some() => {
                format!("--throughput is for volumes of type gp3, not {kind}")
            }
            _ => return Ok(()),
        };
        Err(Failure::usage(problem))
    }

    fn origin(&self, is_device: bool, context: &Context) -> Result<Origin, Failure> {
        if self.from == STDIN {
            return self.standard_input();
        }
        // A file that is called so can be given as ./snap-…
        if let Ok(id) = values::snapshot(&self.from) {
            return Ok(Origin::Snapshot(id));
        }
        let path = PathBuf::from(&self.from);
        let still = match is_device {
            true => {
                let journal = self.journal.as_ref();
                self.in_use.still(&path, journal, self.dry_run, context)?
            }
            false => None,
        };
        let stays = true;
        Ok(Origin::Disk { path, stays, still })
    }

    /// A file or a device as standard input is read as one; anything else as a stream.
    fn standard_input(&self) -> Result<Origin, Failure> {
        let path = Path::new(STDIN_PATH);
        let cannot = |error: std::io::Error| {
            Failure::new(exit::SOURCE, format!("cannot read standard input: {error}"))
        };
        let kind = fs::metadata(path).map_err(cannot)?.file_type();
        if kind.is_file() || kind.is_block_device() {
            // By its own name, under which a later run finds it again, unless another file has that name by now.
            let identity = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
            let is_it = |own: &PathBuf| identity(own) == identity(path);
            let own = fs::read_link(path).ok().filter(is_it);
            return Ok(Origin::Disk {
                path: own.unwrap_or_else(|| path.to_owned()),
                stays: true,
                still: None,
            });
        }
        if self.size.is_none() {
            return Err(Failure::usage(
                "standard input is a stream: --size must say how large a volume holds it",
            ));
        }
        let stream = File::open(path).map_err(cannot)?;
        Ok(Origin::Stream(Box::new(stream)))
    }
}
