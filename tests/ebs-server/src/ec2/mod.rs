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

use std::sync::Arc;

use crate::answer::Answer;
use crate::error::Refused;
use crate::image::ImageRecord;
use crate::snapshot::Snapshot;
use crate::world::{Caller, Things, World};
use crate::xml::Xml;

/// The namespace of EC2's answers.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

type Written = Result<(), Refused>;

/// An action: what writes the inside of its answer, and the first parts of the names of its parameters.
type Action<'a> = (fn(&Query<'a>, &mut Xml) -> Written, &'static [&'static str]);

/// A request, and who makes it.
struct Query<'a> {
    world: &'a World,
    parameters: &'a Parameters,
    caller: &'a Caller,
}

fn action<'a>(name: &str) -> Option<Action<'a>> {
    Some(match name {
        "DescribeRegions" => (
            Query::describe_regions,
            &["RegionName", "AllRegions", "Filter"],
        ),
        "DescribeSnapshots" => (
            Query::describe_snapshots,
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
            Query::describe_images,
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
        "RegisterImage" => (Query::register_image, register::PARAMETERS),
        "DeregisterImage" => (
            Query::deregister_image,
            &["ImageId", "DeleteAssociatedSnapshots"],
        ),
        "CopyImage" => (Query::copy_image, copy::PARAMETERS),
        "ModifyImageAttribute" => (Query::modify_image_attribute, attributes::OF_IMAGES),
        "DescribeImageAttribute" => (Query::describe_image_attribute, &["ImageId", "Attribute"]),
        "ModifySnapshotAttribute" => (Query::modify_snapshot_attribute, attributes::OF_SNAPSHOTS),
        "DescribeSnapshotAttribute" => (
            Query::describe_snapshot_attribute,
            &["SnapshotId", "Attribute"],
        ),
        "EnableImageDeprecation" => (Query::enable_deprecation, &["ImageId", "DeprecateAt"]),
        "DisableImageDeprecation" => (Query::disable_deprecation, &["ImageId"]),
        "EnableImageDeregistrationProtection" => {
            (Query::enable_protection, &["ImageId", "WithCooldown"])
        }
        "DisableImageDeregistrationProtection" => (Query::disable_protection, &["ImageId"]),
        "DeleteSnapshot" => (Query::delete_snapshot, &["SnapshotId"]),
        "CreateTags" => (Query::create_tags, &["ResourceId", "Tag"]),
        "GetEbsEncryptionByDefault" => (Query::encryption_by_default, &[]),
        "GetEbsDefaultKmsKeyId" => (Query::default_kms_key, &[]),
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
        let query = Query {
            world: self,
            parameters,
            caller,
        };
        let mut xml = Xml::new();
        let mut result = Ok(());
        xml.root(&format!("{name}Response"), NAMESPACE, |xml| {
            xml.text("requestId", request);
            result = perform(&query, xml);
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

impl Query<'_> {
    /// The image of that ID in a region, if the caller can use it.
    fn image<'t>(
        &self,
        things: &'t mut Things,
        region: &str,
        id: &str,
    ) -> Result<&'t mut ImageRecord, Refused> {
        check_image_id(id)?;
        let found = things.images.get_mut(&(region.to_owned(), id.to_owned()));
        let found =
            found.filter(|image| image.is_visible() && image.is_usable_by(&self.caller.account));
        found.ok_or_else(|| no_image(id))
    }

    /// The image that the caller names and owns.
    fn own_image<'t>(&self, things: &'t mut Things) -> Result<&'t mut ImageRecord, Refused> {
        let id = self.parameters.needed("ImageId")?;
        let image = self.image(things, &self.caller.region, id)?;
        if image.owner != self.caller.account {
            let message = format!("Not authorized for image:{id}");
            return Err(Refused::new("AuthFailure", message).with_status(403));
        }
        Ok(image)
    }

    /// The snapshot of that ID, if the caller can read it.
    fn snapshot(&self, things: &Things, id: &str) -> Result<Arc<Snapshot>, Refused> {
        check_snapshot_id(id)?;
        let found = things.snapshot(&self.caller.region, id);
        let found =
            found.filter(|found| found.is_visible() && found.is_readable_by(&self.caller.account));
        found.ok_or_else(|| no_snapshot(id))
    }

    /// The snapshot that the caller names and owns.
    fn own_snapshot(&self, things: &Things) -> Result<Arc<Snapshot>, Refused> {
        let id = self.parameters.needed("SnapshotId")?;
        let found = self.snapshot(things, id)?;
        match found.owner == self.caller.account {
            true => Ok(found),
            false => Err(no_snapshot(id)),
        }
    }
}

fn done(xml: &mut Xml) -> Written {
    xml.text("return", true);
    Ok(())
}
