//! `ec2-ami register`.

use ami_cli::{Context, Failure};
use ami_ec2::{BlockDevice, BlockDeviceMapping, RegisterImage, Tag};
use ami_lifecycle::{Register, plan_register, register};
use clap::ArgAction::SetTrue;
use clap::Args;
use serde::Serialize;

use crate::access::AccessOptions;
use crate::in_s3::{self, Manifest};
use crate::reporter::Reporter;
use crate::{problems, values};

const BUNDLE: &str = "The bundle";
const IMAGE: &str = "The AMI";
const RUNNING: &str = "Output";

#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle's manifest in S3: BUCKET/FOLDER/NAME.manifest.xml
    #[arg(value_name = "MANIFEST", value_parser = in_s3::manifest, help_heading = BUNDLE)]
    manifest: Manifest,
    /// The AMI's name
    #[arg(long, value_name = "NAME", value_parser = values::image_name, help_heading = IMAGE)]
    name: String,
    /// What it is, for people
    #[arg(long, value_name = "TEXT", value_parser = values::description, help_heading = IMAGE)]
    description: Option<String>,
    /// i386 or x86_64 [default: the manifest's]
    #[arg(long, value_name = "ARCH", value_parser = ["i386", "x86_64"], hide_possible_values = true, help_heading = IMAGE)]
    arch: Option<String>,
    /// hvm or paravirtual [default: paravirtual with a kernel, hvm without]
    #[arg(long, value_name = "TYPE", value_parser = ["hvm", "paravirtual"], hide_possible_values = true, help_heading = IMAGE)]
    virtualization: Option<String>,
    /// The kernel [default: the manifest's]
    #[arg(long, value_name = "AKI", value_parser = values::kernel, help_heading = IMAGE)]
    kernel: Option<String>,
    /// The RAM disk [default: the manifest's]
    #[arg(long, value_name = "ARI", value_parser = values::ramdisk, help_heading = IMAGE)]
    ramdisk: Option<String>,
    /// The device that it starts from [default: the manifest's]
    #[arg(long, value_name = "DEVICE", value_parser = values::device, help_heading = IMAGE)]
    root_device_name: Option<String>,
    #[arg(help = values::MAPPING, short = 'B', long, value_name = "MAPPING", value_parser = values::mapping, help_heading = IMAGE)]
    block_device_mapping: Vec<BlockDeviceMapping>,
    /// A tag: KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::tag, help_heading = IMAGE)]
    tag: Vec<Tag>,
    /// Show what would be registered, and every problem, and do nothing
    #[arg(long, action = SetTrue, help_heading = RUNNING)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessOptions,
}

/// The plan, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    region: &'a str,
    existing: Option<&'a str>,
    manifest: Option<&'a str>,
    architecture: Option<&'a str>,
    virtualization: Option<&'a str>,
    kernel: Option<&'a str>,
    ramdisk: Option<&'a str>,
    root_device: Option<&'a str>,
    devices: Vec<String>,
    problems: Vec<String>,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let dry_run = arguments.dry_run;
    let request = arguments.request(context)?;
    let flag = context.interrupted();
    if dry_run {
        let plan = problems::looked_up(plan_register(&request, flag))?;
        let problems = problems::of(plan.problems);
        let image = &plan.image;
        let report = Report {
            name: &image.name,
            region: &plan.region,
            existing: plan.existing.as_deref(),
            manifest: image.image_location.as_deref(),
            architecture: image.architecture.as_deref(),
            virtualization: image.virtualization_type.as_deref(),
            kernel: image.kernel_id.as_deref(),
            ramdisk: image.ramdisk_id.as_deref(),
            root_device: image.root_device_name.as_deref(),
            devices: devices(image),
            problems: problems::told(&problems, context),
        };
        if context.is_json() {
            context.print_json(&report)?;
        } else {
            show(&report, context)?;
        }
        return Failure::all(problems);
    }
    let reporter = Reporter::new(context);
    let registered = reporter.run(register(&request, &reporter, flag))?;
    if context.is_json() {
        context.print_json(&registered)?;
    }
    reporter.finish()
}

fn show(report: &Report<'_>, context: &Context) -> Result<(), Failure> {
    if let Some(image) = report.existing {
        return context.say(&format!(
            "{image} is this AMI already: nothing would be done."
        ));
    }
    context.say(&format!("This would be registered in {}:", report.region))?;
    for (what, value) in [
        ("name", Some(report.name)),
        ("manifest", report.manifest),
        ("architecture", report.architecture),
        ("virtualization", report.virtualization),
        ("kernel", report.kernel),
        ("RAM disk", report.ramdisk),
        ("root device", report.root_device),
    ] {
        if let Some(value) = value {
            context.say(&format!("  {what}: {value}"))?;
        }
    }
    let mut devices = report.devices.iter();
    devices.try_for_each(|device| context.say(&format!("  device: {device}")))
}

/// The devices, each in a few words.
fn devices(image: &RegisterImage) -> Vec<String> {
    let devices = image.block_device_mappings.iter();
    devices
        .map(|BlockDeviceMapping { device_name, kind }| match kind {
            BlockDevice::None => format!("{device_name}: none"),
            BlockDevice::InstanceStore(name) => format!("{device_name}: {name}"),
            BlockDevice::Ebs(ebs) => {
                let snapshot = ebs.snapshot_id.iter().cloned();
                let size = ebs.volume_size.map(|gib| format!("{gib} GiB"));
                let parts = snapshot.chain(size).chain(ebs.volume_type.clone());
                let parts: Vec<String> = parts.collect();
                format!("{device_name}: {}", parts.join(", "))
            }
        })
        .collect()
}

impl Arguments {
    fn request(self, context: &Context) -> Result<Register, Failure> {
        let access = self.access.access(context)?;
        Ok(Register {
            s3: self.access.s3(&access)?,
            access,
            bucket: self.manifest.bucket,
            manifest: self.manifest.file,
            name: self.name,
            description: self.description,
            architecture: self.arch,
            virtualization: self.virtualization,
            kernel: self.kernel,
            ramdisk: self.ramdisk,
            root_device: self.root_device_name,
            devices: self.block_device_mapping,
            tags: self.tag,
        })
    }
}
