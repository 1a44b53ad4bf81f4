//! EC2's Query API: what snapshots and images need of it. As in AWS's API model `ec2-2016-11-15`.

mod attributes;
mod copy;
mod describe;
mod filters;
mod images;
mod parameters;
mod register;
mod snapshots;

pub(crate) use parameters::{Parameters, QueryService};

use crate::answer::Answer;
use crate::error::Refused;
use crate::image::ImageRecord;
use crate::world::{Caller, Things, World};
use crate::xml::Xml;

/// The namespace of EC2's answers.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

type Written = Result<(), Refused>;

/// An action: what writes the inside of its answer, and the first parts of the names of its parameters.
type Action = (
    fn(&World, &Parameters, &Caller, &mut Xml) -> Written,
    &'static [&'static str],
);

fn action(name: &str) -> Option<Action> {
    Some(match name {
        "DescribeRegions" => (
            World::describe_regions,
            &["RegionName", "AllRegions", "Filter"],
        ),
        "DescribeSnapshots" => (
            World::describe_snapshots,
            &[
                "Filter",
                "MaxResults",
                "NextToken",
                "Owner",
                "RestorableBy",
                "SnapshotId",
            ],
        ),
        "DescribeImages" => (
            World::describe_images,
            &[
                "Filter",
                "MaxResults",
                "NextToken",
                "Owner",
                "ExecutableBy",
                "ImageId",
                "IncludeDeprecated",
                "IncludeDisabled",
            ],
        ),
        "RegisterImage" => (World::register_image, register::PARAMETERS),
        "DeregisterImage" => (
            World::deregister_image,
            &["ImageId", "DeleteAssociatedSnapshots"],
        ),
        "CopyImage" => (World::copy_image, copy::PARAMETERS),
        "ModifyImageAttribute" => (World::modify_image_attribute, attributes::OF_IMAGES),
        "DescribeImageAttribute" => (World::describe_image_attribute, &["ImageId", "Attribute"]),
        "ModifySnapshotAttribute" => (World::modify_snapshot_attribute, attributes::OF_SNAPSHOTS),
        "DescribeSnapshotAttribute" => (
            World::describe_snapshot_attribute,
            &["SnapshotId", "Attribute"],
        ),
        "EnableImageDeprecation" => (World::enable_deprecation, &["ImageId", "DeprecateAt"]),
        "DisableImageDeprecation" => (World::disable_deprecation, &["ImageId"]),
        "EnableImageDeregistrationProtection" => {
            (World::enable_protection, &["ImageId", "WithCooldown"])
        }
        "DisableImageDeregistrationProtection" => (World::disable_protection, &["ImageId"]),
        "DeleteSnapshot" => (World::delete_snapshot, &["SnapshotId"]),
        "CreateTags" => (World::create_tags, &["ResourceId", "Tag"]),
        "GetEbsEncryptionByDefault" => (World::encryption_by_default, &[]),
        "GetEbsDefaultKmsKeyId" => (World::default_kms_key, &[]),
        _ => return None,
    })
}

impl World {
    /// Answers a request of EC2's or STS's.
    pub(crate) fn query(
        &self,
        service: QueryService,
        parameters: &Parameters,
        caller: &Caller,
        request: &str,
    ) -> Result<Answer, Refused> {
        if service == QueryService::Sts {
            return self.sts(parameters, caller, request);
        }
        let name = parameters.action();
        let Some((perform, known)) = action(&name) else {
            let message = format!("The action {name} is not valid for this web service.");
            return Err(Refused::new("InvalidAction", message));
        };
        let rate = self.settings.quotas.ec2;
        self.take(&[self.account_bucket(caller, "EC2", rate)])
            .map_err(|_| {
                Refused::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503)
            })?;
        parameters.check_known(known)?;
        if self.settings.denied.contains(&name) {
            let message = "You are not authorized to perform this operation.";
            return Err(Refused::new("UnauthorizedOperation", message).with_status(403));
        }
        if parameters.flag("DryRun")? == Some(true) {
            let message = "Request would have succeeded, but DryRun flag is set.";
            return Err(Refused::new("DryRunOperation", message).with_status(412));
        }
        let mut xml = Xml::new();
        let mut result = Ok(());
        xml.root(&format!("{name}Response"), NAMESPACE, |xml| {
            xml.text("requestId", request);
            result = perform(self, parameters, caller, xml);
        });
        result.map(|()| Answer::xml(200, xml.finish()))
    }
}

/// What an ID must look like: a prefix, a dash, 8 or 17 hex digits.
fn is_id(id: &str, prefix: &str) -> bool {
    let digits = id
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .unwrap_or_default();
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    matches!(digits.len(), 8 | 17) && digits.bytes().all(is_hex)
}

fn check_image_id(id: &str) -> Result<(), Refused> {
    if is_id(id, "ami") {
        return Ok(());
    }
    let message = format!("Invalid id: \"{id}\" (expecting \"ami-...\")");
    Err(Refused::new("InvalidAMIID.Malformed", message))
}

fn check_snapshot_id(id: &str) -> Result<(), Refused> {
    if is_id(id, "snap") {
        return Ok(());
    }
    let message =
        format!("Value ({id}) for parameter snapshotId is invalid. Expected: 'snap-...'.");
    Err(Refused::new("InvalidSnapshotID.Malformed", message))
}

fn no_image(id: &str) -> Refused {
    let message = format!("The image id '[{id}]' does not exist");
    Refused::new("InvalidAMIID.NotFound", message)
}

fn no_snapshot(id: &str) -> Refused {
    let message = format!("The snapshot '{id}' does not exist.");
    Refused::new("InvalidSnapshot.NotFound", message)
}

/// The image that a caller names and owns.
fn own_image<'a>(
    things: &'a mut Things,
    parameters: &Parameters,
    caller: &Caller,
) -> Result<&'a mut ImageRecord, Refused> {
    let id = parameters.needed("ImageId")?;
    check_image_id(id)?;
    let place = (caller.region.clone(), id.to_owned());
    let image = things.images.get_mut(&place);
    let image = image.filter(|image| image.is_visible() && image.is_usable_by(&caller.account));
    let image = image.ok_or_else(|| no_image(id))?;
    if image.owner != caller.account {
        let message = format!("Not authorized for image:{id}");
        return Err(Refused::new("AuthFailure", message).with_status(403));
    }
    Ok(image)
}

fn done(xml: &mut Xml) -> Written {
    xml.text("return", true);
    Ok(())
}
