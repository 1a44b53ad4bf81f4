//! What `ec2-ami create` says of its plan and of its result.

use ami_account::Quota;
use ami_cli::{Context, Failure, counted};
use ami_ec2::Grantee;
use ami_lifecycle::{
    Copied, CreatePlan, Created, Distribution, QuotaUse, Sent, Step, Unfinished, bytes_of,
};
use serde::Serialize;

use crate::access::AccessOptions;
use crate::problems;
use crate::shell::quoted;

/// Numbers of MiB are shown.
const MIB: u64 = 1 << 20;

/// What the commands that do the rest have of this one.
pub struct Again(String);

impl Again {
    /// Credentials are not repeated but for the profile: the rest are secrets.
    pub fn of(access: &AccessOptions) -> Self {
        let mut words = String::new();
        for (option, value) in [
            ("profile", access.account.credentials.profile()),
            ("assume-role", access.account.role()),
            ("endpoint-url", access.endpoint_url.as_deref()),
        ] {
            if let Some(value) = value {
                words.push_str(&format!(" --{option} {}", quoted(value)));
            }
        }
        Self(words)
    }

    /// The options, each with a blank before it.
    pub fn words(&self) -> &str {
        &self.0
    }
}

/// The result, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    snapshot: &'a str,
    image: Option<&'a str>,
    region: &'a str,
    name: Option<&'a str>,
    architecture: Option<&'a str>,
    blocks: Option<Sent>,
    copies: &'a [Copied],
    unfinished: Vec<UnfinishedReport<'a>>,
    start: Option<String>,
}

#[derive(Serialize)]
struct UnfinishedReport<'a> {
    region: &'a str,
    image: Option<&'a str>,
    step: Step,
    error: String,
    command: String,
}

/// Says what was made and what was not. IDs have been printed as they came.
pub fn show(
    created: &Created,
    distribution: &Distribution,
    again: &Again,
    context: &Context,
) -> Result<(), Failure> {
    let start = created.image.as_ref().map(|image| {
        let region = &created.region;
        let kind = match created.architecture.as_deref() {
            Some("arm64") => "t4g.micro",
            _ => "t3.micro",
        };
        format!("aws ec2 run-instances --region {region} --image-id {image} --instance-type {kind}")
    });
    let unfinished = created
        .unfinished
        .iter()
        .map(|unfinished| UnfinishedReport {
            region: &unfinished.region,
            image: unfinished.image.as_deref(),
            step: unfinished.step,
            error: context.explained(&unfinished.error),
            command: command(unfinished, created, distribution, again),
        });
    let unfinished: Vec<UnfinishedReport<'_>> = unfinished.collect();
    if !context.is_json() {
        if let Some(sent) = &created.sent {
            context.warn(&in_words(sent));
        }
        if let Some(start) = &start {
            context.say(start)?;
        }
        if !unfinished.is_empty() {
            let count = counted(unfinished.len() as u64, "step", "steps");
            context.warn(&format!(
                "The AMI is made, but {count} failed. What is left is done by:"
            ));
            for one in &unfinished {
                context.warn(&format!("  {}", one.command));
            }
        }
        return Ok(());
    }
    context.print_json(&Report {
        snapshot: &created.snapshot,
        image: created.image.as_deref(),
        region: &created.region,
        name: created.name.as_deref(),
        architecture: created.architecture.as_deref(),
        blocks: created.sent,
        copies: &created.copies,
        unfinished,
        start,
    })
}

fn in_words(sent: &Sent) -> String {
    let mib = |blocks: u64| bytes_of(blocks) / MIB;
    let mut text = format!(
        "Sent {} MiB, left out {} MiB of free space.",
        mib(sent.sent),
        mib(sent.free)
    );
    if sent.kept > 0 {
        text.push_str(&format!(
            " {} MiB were there from an interrupted run.",
            mib(sent.kept)
        ));
    }
    text
}

/// The command that does what has failed: a copy again by this program, which finds what there is; the rest by AWS's.
fn command(
    unfinished: &Unfinished,
    created: &Created,
    distribution: &Distribution,
    Again(again): &Again,
) -> String {
    let Unfinished { region, image, .. } = unfinished;
    let image = image.as_deref().unwrap_or_default();
    match unfinished.step {
        Step::Share => {
            let permissions: Vec<String> = distribution.offer.share.iter().map(granted).collect();
            format!(
                "aws ec2 modify-image-attribute --region {region} --image-id {image} --launch-permission 'Add=[{}]'",
                permissions.join(",")
            )
        }
        Step::Deprecate => format!(
            "aws ec2 enable-image-deprecation --region {region} --image-id {image} --deprecate-at {}",
            distribution
                .offer
                .deprecate_at
                .as_deref()
                .unwrap_or_default()
        ),
        Step::Protect => format!(
            "aws ec2 enable-image-deregistration-protection --region {region} --image-id {image}"
        ),
        _ => {
            let name = created.name.as_deref().unwrap_or_default();
            let mut text = format!(
                "ec2-ami create {} --name {} --region {}{again} --copy-to {region}",
                created.snapshot,
                quoted(name),
                created.region
            );
            let copy = distribution.copies.iter();
            let mut copy = copy.filter(|copy| copy.region == *region);
            if let Some(key) = copy.next().and_then(|copy| copy.kms_key.as_ref()) {
                text.push_str(&format!(" --copy-kms-key {}", quoted(key)));
            }
            for grantee in &distribution.offer.share {
                text.push_str(&format!(" --share {}", whom(grantee)));
            }
            if let Some(at) = &distribution.offer.deprecate_at {
                let day = at.split('T').next().unwrap_or_default();
                text.push_str(&format!(" --deprecate-after {day}"));
            }
            if distribution.offer.protect {
                text.push_str(" --protect");
            }
            text
        }
    }
}

fn granted(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Account(account) => format!("{{UserId={account}}}"),
        Grantee::Organization(arn) => format!("{{OrganizationArn={arn}}}"),
        Grantee::Unit(arn) => format!("{{OrganizationalUnitArn={arn}}}"),
        Grantee::All => "{Group=all}".to_owned(),
    }
}

fn whom(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Account(text) | Grantee::Organization(text) | Grantee::Unit(text) => quoted(text),
        Grantee::All => "all".to_owned(),
    }
}

/// The plan, for `--json`.
#[derive(Serialize)]
struct PlanReport<'a> {
    region: &'a str,
    name: Option<&'a str>,
    existing: Option<&'a str>,
    architecture: Option<&'a str>,
    boot_mode: Option<&'a str>,
    volume_size: Option<u64>,
    blocks: Option<u64>,
    free_blocks: Option<u64>,
    copied_bytes: Option<u64>,
    encrypted: Option<bool>,
    kms_key: Option<&'a str>,
    least_seconds: Option<u64>,
    quotas: Vec<QuotaReport<'a>>,
    warnings: Vec<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct QuotaReport<'a> {
    region: &'a str,
    name: String,
    service: &'static str,
    code: &'static str,
    used: u64,
    is_all: bool,
    limit: u64,
}

impl<'a> From<&'a QuotaUse> for QuotaReport<'a> {
    fn from(found: &'a QuotaUse) -> Self {
        Self {
            region: &found.region,
            name: found.quota.to_string(),
            service: found.quota.service_code(),
            code: found.quota.code(),
            used: found.used.found,
            is_all: found.used.is_all,
            limit: found.limit,
        }
    }
}

/// The lines of a plan: what, and its value.
fn lines(report: &PlanReport<'_>, quotas: &[QuotaUse]) -> Vec<(String, String)> {
    let text = |value: Option<&str>| value.map(str::to_owned);
    let mib = |blocks: u64| format!("{} MiB", bytes_of(blocks) / MIB);
    let sent = report.blocks.zip(report.free_blocks);
    let sent = sent.map(|(all, free)| mib(all.saturating_sub(free)));
    let encrypted = report
        .encrypted
        .map(|is_so| if is_so { "yes" } else { "no" });
    let seconds = report.least_seconds;
    let of_result = [
        ("AMI", text(report.name)),
        ("there already", text(report.existing)),
        ("architecture", text(report.architecture)),
        ("boot mode", text(report.boot_mode)),
        ("volume", report.volume_size.map(|gib| format!("{gib} GiB"))),
        (
            "to be copied",
            report
                .copied_bytes
                .map(|bytes| format!("{} MiB", bytes / MIB)),
        ),
        ("to be sent", sent),
        ("free, left out", report.free_blocks.map(mib)),
        (
            "sending takes at least",
            seconds.map(|seconds| format!("{seconds} s")),
        ),
        ("encrypted", text(encrypted)),
        ("key", text(report.kms_key)),
    ];
    let of_result = of_result.into_iter();
    let of_result = of_result.filter_map(|(what, value)| Some((what.to_owned(), value?)));
    let of_quotas = quotas.iter().map(|found| {
        let what = match found.quota {
            Quota::Snapshots => "snapshots",
            Quota::PublicImages => "public AMIs",
            _ => "AMIs",
        };
        let place = match &*found.region {
            region if region == report.region => String::new(),
            region => format!(" in {region}"),
        };
        let at_least = if found.used.is_all { "" } else { "at least " };
        let (used, limit) = (found.used.found, found.limit);
        let value = format!("{at_least}{used} of {limit}");
        (format!("{what}{place}"), value)
    });
    of_result.chain(of_quotas).collect()
}

/// Shows a plan, and fails with its problems and those of the volume, of which so many bytes would be `copied`.
pub fn show_plan(
    plan: CreatePlan,
    of_volume: Vec<Failure>,
    copied: Option<u64>,
    context: &Context,
) -> Result<(), Failure> {
    let mut problems = problems::of(plan.problems);
    problems.extend(of_volume);
    let image = plan.image.as_ref();
    let report = PlanReport {
        region: &plan.region,
        name: image.map(|image| image.name.as_str()),
        existing: plan.existing.as_deref(),
        architecture: image.and_then(|image| image.architecture.as_deref()),
        boot_mode: image.and_then(|image| image.boot_mode.as_deref()),
        volume_size: plan.volume_size,
        blocks: plan.blocks,
        free_blocks: plan.free,
        copied_bytes: copied,
        encrypted: plan.encrypted,
        kms_key: plan.kms_key.as_deref(),
        least_seconds: plan.least_seconds,
        quotas: plan.quotas.iter().map(QuotaReport::from).collect(),
        warnings: plan.warnings.iter().map(ToString::to_string).collect(),
        problems: problems::told(&problems, context),
    };
    if context.is_json() {
        context.print_json(&report)?;
        return Failure::all(problems);
    }
    // Of what cannot be used nothing is known.
    if report.volume_size.is_some() || report.name.is_some() {
        context.say(&format!("This would be made in {}:", report.region))?;
        for (what, value) in lines(&report, &plan.quotas) {
            context.say(&format!("  {what}: {value}"))?;
        }
    }
    for warning in &report.warnings {
        context.warn(&format!("WARNING: {warning}"));
    }
    Failure::all(problems)
}
