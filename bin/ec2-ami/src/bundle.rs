//! `ec2-ami bundle`.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use ami_bundle::{BundlePlan, Problem, Problems, check_name, check_size};
use ami_cli::{
    CompressionOptions, Context, Failure, InstanceMetadata, KeyOptions, ManifestOptions,
    RunningOptions, plan_bundle,
};
use ami_lifecycle::{Access, Error, Register, Still, look_at_disk, register};
use ami_s3::{Acl, BucketPath, Location};
use ami_transfer::{
    BundleToS3, BundledToS3, Place, PlaceFound, WhenRead, bundle_to_s3, look_at_place,
};
use ami_volume_cli::{ImageOptions, SelectionOptions};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::access::AccessOptions;
use crate::bundle_report::{self, Plan};
use crate::create_report::Again;
use crate::reporter::Reporter;
use crate::transfer::Teller;
use crate::volume::{self, InUseOptions, Volume};
use crate::{exit, in_s3, outcome, values};

const SOURCE: &str = "What is bundled, and where to";
const RUNNING: &str = "Performance and output";

/// The name of a volume's bundle, as ec2-bundle-vol has it.
const NAME: &str = "image";

/// An architecture for checks that do not depend on it.
const ANY: &str = "x86_64";

#[derive(Debug, Args)]
// -a is the access key's.
#[command(mut_arg("all", |arg| arg.short(None)))]
#[command(mut_arg("prefix", |arg| arg.help("The bundle's name [default: the image's file name; of a folder image]")))]
#[command(mut_arg("arch", |arg| {
    arg.help("i386 or x86_64 [default: found in the image]").value_parser(["i386", "x86_64"]).hide_possible_values(true)
}))]
#[command(mut_arg("no_size_checks", |arg| arg.help("Allow images over 10 GiB, and possibly too little space for a volume's disk")))]
pub struct Arguments {
    /// A disk image (raw), a block device, or the folder where a volume is mounted (/)
    #[arg(value_name = "FROM", value_parser = values::disk_or_folder, help_heading = SOURCE)]
    from: PathBuf,
    /// The bucket, which is created if it does not exist, and the folder in it
    #[arg(value_name = "s3://BUCKET/FOLDER", value_parser = in_s3::folder, help_heading = SOURCE)]
    to: BucketPath,
    /// Where to create the bucket, or where it must be: EU, US or a region
    #[arg(long, value_name = "LOCATION", value_parser = location, help_heading = SOURCE)]
    location: Option<Location>,
    /// Who may read the bundle besides you: aws-exec-read (EC2) or public-read
    #[arg(long, value_name = "ACL", default_value = "aws-exec-read", value_parser = acl, help_heading = SOURCE)]
    acl: Acl,
    /// Register the bundle as an AMI of this name
    #[arg(long, value_name = "NAME", value_parser = values::image_name, help_heading = SOURCE)]
    register: Option<String>,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    manifest: ManifestOptions,
    /// The size in GiB of the disk that is made of a volume
    #[arg(long, value_name = "GIB", default_value_t = volume::SIZE, value_parser = values::number::<1, 65_536>, help_heading = "The volume")]
    size: u64,
    #[command(flatten)]
    selection: SelectionOptions,
    #[command(flatten)]
    image: ImageOptions,
    #[command(flatten)]
    in_use: InUseOptions,
    #[command(flatten)]
    compression: CompressionOptions,
    #[command(flatten)]
    running: RunningOptions,
    /// Show what would be bundled, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = RUNNING)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessOptions,
}

fn location(text: &str) -> Result<Location, String> {
    text.parse()
        .map_err(|_| "EU, US or a region is needed, such as eu-west-1".to_owned())
}

fn acl(text: &str) -> Result<Acl, String> {
    match text {
        "aws-exec-read" => Ok(Acl::AwsExecRead),
        "public-read" => Ok(Acl::PublicRead),
        _ => Err("it is one of aws-exec-read, public-read".to_owned()),
    }
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let job = Job::new(arguments, context)?;
    if job.arguments.dry_run {
        return job.show(context);
    }
    let (bundled, again) = (job.bundle(context)?, Again::of(&job.arguments.access));
    let location = format!("s3://{}", bundled.manifest);
    let finished = job.finish(bundled, &again, context);
    finished.map_err(|failure| failure.after(location.as_ref()))
}

/// What was asked for.
struct Job {
    arguments: Arguments,
    /// The bundle's name.
    name: String,
    place: Place,
    access: Access,
    is_folder: bool,
    /// Keeps a device from changing.
    still: Option<Arc<dyn Still>>,
}

/// What was found out before anything is done.
#[derive(Default)]
struct Checked {
    place: Option<PlaceFound>,
    /// The image's size in bytes.
    size: Option<u64>,
    architecture: Option<String>,
    problems: Vec<Failure>,
}

impl Checked {
    fn note<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.problems.push(failure)).ok()
    }
}

impl Job {
    fn new(arguments: Arguments, context: &Context) -> Result<Self, Failure> {
        let from = &arguments.from;
        let is_folder = from.is_dir();
        let is_device = from
            .metadata()
            .is_ok_and(|found| found.file_type().is_block_device());
        if let Some(option) = arguments.in_use.given(is_device)
            && !is_folder
        {
            return Err(Failure::usage(format!(
                "--{option} is for the folder where a volume is mounted, and {} is none",
                from.display()
            )));
        }
        let name = arguments.name(is_folder)?;
        let access = arguments.access.access(context)?;
        let place = Place {
            s3: arguments.access.s3(&access)?,
            bucket: arguments.to.clone(),
            location: arguments.location.clone(),
            acl: arguments.acl,
        };
        let still = match is_device {
            true => arguments
                .in_use
                .still(from, None, arguments.dry_run, context)?,
            false => None,
        };
        Ok(Self {
            arguments,
            name,
            place,
            access,
            is_folder,
            still,
        })
    }

    /// The volume, if it is one.
    fn volume(&self) -> Result<Option<Volume>, Failure> {
        if !self.is_folder {
            return Ok(None);
        }
        let Arguments {
            from,
            size,
            manifest,
            selection,
            image,
            in_use,
            keys,
            ..
        } = &self.arguments;
        let architecture = manifest.arch.as_deref();
        let volume = Volume::new(from, *size, architecture, selection, image, in_use)?;
        Ok(Some(
            volume.without(&keys.privatekey, !manifest.no_size_checks),
        ))
    }

    /// Everything that can be found out without making anything.
    fn check(&self, context: &Context) -> Result<Checked, Failure> {
        let (arguments, flag) = (&self.arguments, context.interrupted());
        let mut checked = Checked::default();
        let teller = Teller::new(context);
        match teller.run(look_at_place(&self.place, &self.name, flag, &teller)) {
            Err(failure) if failure.is_interruption() => return Err(failure),
            found => checked.place = checked.note(found),
        }
        if self.is_folder {
            checked.size = Some(arguments.size << 30);
            checked.architecture = Some(self.architecture(None).unwrap_or_else(|_| ANY.to_owned()));
        } else {
            let disk = look_at_disk(&arguments.from, self.still.is_some(), flag);
            if let Some(disk) = checked.note(disk.map_err(outcome::failure)) {
                checked.size = Some(disk.size);
                let architecture = self.architecture(disk.architecture);
                checked.architecture = checked.note(architecture);
            }
        }
        if let Some(size) = checked.size {
            let is_fit = check_size(&arguments.from, size, !arguments.manifest.no_size_checks);
            let _ = checked.note(is_fit.map_err(problem));
        }
        let architecture = checked.architecture.as_deref().unwrap_or(ANY);
        let region = checked.place.as_ref().map(|place| &*place.region);
        if let Err(problems) = self.plan(architecture, region) {
            let problems = problems.into_iter().map(problem);
            checked.problems.extend(problems);
        }
        Ok(checked)
    }

    fn architecture(&self, found: Option<String>) -> Result<String, Failure> {
        let architecture = self.arguments.manifest.arch.clone().or(found);
        architecture.ok_or_else(|| outcome::failure(Error::NoArchitecture))
    }

    /// The plan for a bucket in this region, whose EC2 reads the bundle.
    fn plan(&self, architecture: &str, region: Option<&str>) -> Result<BundlePlan, Problems> {
        let arguments = &self.arguments;
        let options = ManifestOptions {
            prefix: Some(self.name.clone()),
            ..arguments.manifest.clone()
        };
        plan_bundle(
            &arguments.from,
            architecture.to_owned(),
            &arguments.keys,
            arguments.access.region.as_deref().or(region),
            &options,
            &arguments.compression,
            InstanceMetadata::default(),
        )
    }

    /// `--dry-run`.
    fn show(&self, context: &Context) -> Result<(), Failure> {
        let mut checked = self.check(context)?;
        let copied = match self.volume()? {
            Some(volume) => {
                let (copied, problems) = volume.problems(context)?;
                checked.problems.extend(problems);
                copied
            }
            None => None,
        };
        let manifest = ami_parts::manifest_file_name(&self.name);
        let found = self.architecture(None).ok();
        let plan = Plan {
            manifest: format!("s3://{}", self.place.bucket.location(&manifest)),
            place: checked.place.as_ref(),
            size: checked.size,
            architecture: match self.is_folder {
                true => found.as_deref(),
                false => checked.architecture.as_deref(),
            },
            copied,
        };
        bundle_report::show_plan(&plan, checked.problems, context)
    }

    fn bundle(&self, context: &Context) -> Result<BundledToS3, Failure> {
        let checked = self.check(context)?;
        Failure::all(checked.problems)?;
        let arguments = &self.arguments;
        context.warn_of_certificate(&arguments.keys.cert);
        let made = match self.volume()? {
            Some(volume) => Some(volume.make(context)?),
            None => None,
        };
        let (image, architecture) = match &made {
            Some((_, disk)) => {
                let found = look_at_disk(disk, true, context.interrupted());
                let found = found.map_err(outcome::failure)?.architecture;
                (disk.as_path(), Some(self.architecture(found)?))
            }
            None => (arguments.from.as_path(), checked.architecture),
        };
        let architecture = architecture.as_deref().unwrap_or(ANY);
        let region = checked.place.as_ref().map(|place| &*place.region);
        let plan = self.plan(architecture, region).map_err(all)?;
        let still = self.still.clone();
        let request = BundleToS3 {
            place: self.place.clone(),
            image: image.to_owned(),
            plan,
            threads: arguments.running.threads(),
            when_read: still.map(|still| -> WhenRead { Box::new(move || still.finish()) }),
        };
        let teller = Teller::new(context);
        teller.run(bundle_to_s3(request, context.interrupted(), &teller))
    }

    /// Says where the bundle is, and registers it if that is asked for.
    fn finish(self, bundled: BundledToS3, again: &Again, context: &Context) -> Result<(), Failure> {
        bundle_report::say_location(&bundled, context)?;
        let Some(name) = self.arguments.register else {
            return bundle_report::finish(bundled, None, again, context);
        };
        let mut access = self.access;
        // EC2 reads bundles of its own region only.
        let _ = access.region.get_or_insert_with(|| bundled.region.clone());
        let request = Register {
            access,
            s3: self.place.s3,
            bucket: self.place.bucket,
            manifest: ami_parts::manifest_file_name(&self.name),
            name,
            description: None,
            architecture: None,
            virtualization: None,
            kernel: None,
            ramdisk: None,
            root_device: None,
            devices: Vec::new(),
            tags: Vec::new(),
        };
        let reporter = Reporter::new(context);
        let registered = reporter.run(register(&request, &reporter, context.interrupted()))?;
        bundle_report::finish(bundled, Some(registered.image), again, context)?;
        reporter.finish()
    }
}

impl Arguments {
    /// The bundle's name.
    fn name(&self, is_folder: bool) -> Result<String, Failure> {
        let of_file = || self.from.file_name().and_then(|name| name.to_str());
        let name = match &self.manifest.prefix {
            Some(name) => Some(name.as_str()),
            None if is_folder => Some(NAME),
            None => of_file(),
        };
        let name = name.ok_or_else(|| Problem::NameNotUtf8(self.from.clone()));
        let name = name.and_then(|name| check_name(name).map(|()| name.to_owned()));
        name.map_err(|problem| Failure::usage(Problems::from(problem)))
    }
}

fn problem(problem: Problem) -> Failure {
    Failure::new(exit::SOURCE, Problems::from(problem))
}

fn all(problems: Problems) -> Failure {
    Failure::new(exit::SOURCE, problems)
}
