//! Who may use an image or a snapshot, and what else an image says of itself.

use std::collections::BTreeSet;

use super::describe::write_devices;
use super::{Parameters, Query, Written, done};
use crate::error::Refused;
use crate::image::Launch;
use crate::world::Things;
use crate::xml::Xml;

pub(super) const OF_IMAGES: &[&str] = &[
    "ImageId",
    "Attribute",
    "Value",
    "Description",
    "ImdsSupport",
    "LaunchPermission",
    "OperationType",
    "UserId",
    "UserGroup",
    "OrganizationArn",
    "OrganizationalUnitArn",
    "ProductCode",
];

pub(super) const OF_SNAPSHOTS: &[&str] = &[
    "SnapshotId",
    "Attribute",
    "CreateVolumePermission",
    "OperationType",
    "UserId",
    "UserGroup",
];

fn item(value: &str) -> Refused {
    let message = format!("Invalid attribute item value \"{value}\".");
    Refused::new("InvalidAMIAttributeItemValue", message)
}

fn account(id: &str) -> Result<String, Refused> {
    if id.len() == 12 && id.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(id.to_owned());
    }
    Err(Refused::new(
        "InvalidUserID.Malformed",
        format!("Invalid user id: \"{id}\""),
    ))
}

fn group(name: &str) -> Result<(), Refused> {
    (name == "all").then_some(()).ok_or_else(|| item(name))
}

/// `arn:PARTITION:organizations::ACCOUNT:KIND/o-…`.
fn arn(arn: &str, kind: &str) -> Result<String, Refused> {
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    match fields[..] {
        ["arn", partition, "organizations", "", owner, rest]
            if partition.starts_with("aws")
                && account(owner).is_ok()
                && rest.starts_with(&format!("{kind}/o-")) =>
        {
            Ok(arn.to_owned())
        }
        _ => Err(item(arn)),
    }
}

/// The launch permissions of a list of structures.
fn launch(parameters: &Parameters, list: &str) -> Result<BTreeSet<Launch>, Refused> {
    let mut found = BTreeSet::new();
    for member in parameters.members(list) {
        let names = parameters.names_in(&member);
        let [name] = names[..] else {
            return Err(Refused::combination("A permission names one of its kinds"));
        };
        let value = parameters
            .get(&format!("{member}.{name}"))
            .unwrap_or_default();
        let permission = match name {
            "UserId" => Launch::Account(account(value)?),
            "Group" => group(value).map(|()| Launch::All)?,
            "OrganizationArn" => Launch::Organization(arn(value, "organization")?),
            "OrganizationalUnitArn" => Launch::Unit(arn(value, "ou")?),
            other => return Err(item(other)),
        };
        let _ = found.insert(permission);
    }
    Ok(found)
}

/// Those of the older lists.
fn launch_lists(parameters: &Parameters) -> Result<BTreeSet<Launch>, Refused> {
    let mut found = BTreeSet::new();
    for id in parameters.list("UserId") {
        let _ = found.insert(Launch::Account(account(&id)?));
    }
    for name in parameters.list("UserGroup") {
        group(&name)?;
        let _ = found.insert(Launch::All);
    }
    for value in parameters.list("OrganizationArn") {
        let _ = found.insert(Launch::Organization(arn(&value, "organization")?));
    }
    for value in parameters.list("OrganizationalUnitArn") {
        let _ = found.insert(Launch::Unit(arn(&value, "ou")?));
    }
    Ok(found)
}

/// What is given and what is taken: by a structure with `Add` and `Remove`, or by OperationType.
fn changes<T: Ord>(
    parameters: &Parameters,
    structure: &str,
    members: impl Fn(&str) -> Result<BTreeSet<T>, Refused>,
    lists: impl Fn() -> Result<BTreeSet<T>, Refused>,
) -> Result<(BTreeSet<T>, BTreeSet<T>), Refused> {
    let mut add = members(&format!("{structure}.Add"))?;
    let mut remove = members(&format!("{structure}.Remove"))?;
    match parameters
        .word("OperationType", &["add", "remove"])?
        .as_deref()
    {
        Some("add") => add.extend(lists()?),
        Some(_) => remove.extend(lists()?),
        None => {}
    }
    if add.is_empty() && remove.is_empty() {
        return Err(Refused::missing("OperationType"));
    }
    Ok((add, remove))
}

impl Query<'_> {
    /// Refuses to share what is encrypted: with AWS's own key with nobody else, with any key not with all.
    fn check_encryption<'a>(
        &self,
        things: &Things,
        snapshots: impl Iterator<Item = &'a str>,
        with_all: bool,
    ) -> Result<(), Refused> {
        for id in snapshots {
            let snapshot = things.snapshot(&self.caller.region, id);
            let key = snapshot.and_then(|snapshot| snapshot.kms_key.clone());
            let Some(key) = key else {
                continue;
            };
            if with_all {
                let message = format!("Encrypted snapshots ({id}) cannot be shared publicly");
                return Err(Refused::new("OperationNotPermitted", message));
            }
            if key
                == self
                    .world
                    .key_of_aws(&self.caller.region, &self.caller.account)
            {
                let message =
                    format!("Encrypted snapshots with EBS default key ({id}) cannot be shared");
                return Err(Refused::new("OperationNotPermitted", message));
            }
        }
        Ok(())
    }

    pub(super) fn modify_image_attribute(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let image = self.own_image(&mut things)?;
        let structures = ["Description", "ImdsSupport", "LaunchPermission"];
        let structures = structures
            .into_iter()
            .filter(|name| self.parameters.has(name));
        let attribute = self.parameters.get("Attribute").map(|name| match name {
            "description" => Ok("Description"),
            "imdsSupport" => Ok("ImdsSupport"),
            "launchPermission" => Ok("LaunchPermission"),
            other => Err(Refused::value("attribute", other)),
        });
        let implied = self
            .parameters
            .has("OperationType")
            .then_some("LaunchPermission");
        let named: BTreeSet<&str> = structures
            .chain(attribute.transpose()?)
            .chain(implied)
            .collect();
        let value = |structure: &str| {
            let value = self.parameters.get(&format!("{structure}.Value"));
            let value = value
                .or(self.parameters.get(structure))
                .or(self.parameters.get("Value"));
            value.unwrap_or_default().to_owned()
        };
        match named.into_iter().collect::<Vec<_>>()[..] {
            ["Description"] => {
                let text = value("Description");
                if text.chars().count() > 255 {
                    return Err(Refused::value("Description", &text));
                }
                image.description = Some(text);
            }
            ["ImdsSupport"] => match value("ImdsSupport").as_str() {
                "v2.0" => image.imds_support = Some("v2.0".to_owned()),
                other => return Err(Refused::value("imdsSupport", other)),
            },
            ["LaunchPermission"] => {
                let (add, remove) = changes(
                    self.parameters,
                    "LaunchPermission",
                    |list| launch(self.parameters, list),
                    || launch_lists(self.parameters),
                )?;
                let image = image.clone();
                if !add.is_empty() {
                    let with_all = add.contains(&Launch::All);
                    self.check_encryption(&things, image.snapshots(), with_all)?;
                }
                let image = self.own_image(&mut things)?;
                image.launch.extend(add);
                image.launch.retain(|launch| !remove.contains(launch));
            }
            [] => return Err(Refused::missing("attribute")),
            _ => {
                return Err(Refused::combination(
                    "Only one attribute can be modified at a time",
                ));
            }
        }
        done(xml)
    }

    pub(super) fn describe_image_attribute(&self, xml: &mut Xml) -> Written {
        let mut things = self.world.things.lock();
        let image = self.own_image(&mut things)?;
        let attribute = self.parameters.needed("Attribute")?;
        xml.text("imageId", &image.id);
        let value = match attribute {
            "launchPermission" => {
                xml.items(
                    "launchPermission",
                    &image.launch,
                    |xml, launch| match launch {
                        Launch::All => xml.text("group", "all"),
                        Launch::Account(id) => xml.text("userId", id),
                        Launch::Organization(arn) => xml.text("organizationArn", arn),
                        Launch::Unit(arn) => xml.text("organizationalUnitArn", arn),
                    },
                );
                return Ok(());
            }
            "blockDeviceMapping" => {
                write_devices(xml, image);
                return Ok(());
            }
            "description" => &image.description,
            "kernel" => &image.kernel,
            "ramdisk" => &image.ramdisk,
            "sriovNetSupport" => &image.sriov_net_support,
            "bootMode" => &image.boot_mode,
            "tpmSupport" => &image.tpm_support,
            "uefiData" => &image.uefi_data,
            "imdsSupport" => &image.imds_support,
            other => return Err(Refused::value("attribute", other)),
        };
        xml.within(attribute, |xml| xml.optional("value", value.as_ref()));
        Ok(())
    }

    pub(super) fn modify_snapshot_attribute(&self, xml: &mut Xml) -> Written {
        let _ = self
            .parameters
            .word("Attribute", &["createVolumePermission"])?;
        let things = self.world.things.lock();
        let found = self.own_snapshot(&things)?;
        let members = |list: &str| {
            let mut all = BTreeSet::new();
            for member in self.parameters.members(list) {
                if let Some(id) = self.parameters.get(&format!("{member}.UserId")) {
                    let _ = all.insert(account(id)?);
                }
                if let Some(name) = self.parameters.get(&format!("{member}.Group")) {
                    group(name)?;
                    let _ = all.insert(name.to_owned());
                }
            }
            Ok(all)
        };
        let lists = || {
            let mut all = BTreeSet::new();
            for id in self.parameters.list("UserId") {
                let _ = all.insert(account(&id)?);
            }
            for name in self.parameters.list("UserGroup") {
                group(&name)?;
                let _ = all.insert(name);
            }
            Ok(all)
        };
        let (add, remove) = changes(self.parameters, "CreateVolumePermission", members, lists)?;
        if !add.is_empty() {
            let with_all = add.contains("all");
            self.check_encryption(&things, [&*found.id].into_iter(), with_all)?;
        }
        let mut inner = found.inner.lock();
        inner.shared_with.extend(add);
        inner.shared_with.retain(|who| !remove.contains(who));
        done(xml)
    }

    pub(super) fn describe_snapshot_attribute(&self, xml: &mut Xml) -> Written {
        let found = self.own_snapshot(&self.world.things.lock())?;
        let attribute = self.parameters.needed("Attribute")?;
        if attribute != "createVolumePermission" {
            return Err(Refused::value("attribute", attribute));
        }
        xml.text("snapshotId", &found.id);
        xml.items(
            "createVolumePermission",
            &found.inner.lock().shared_with,
            |xml, who| {
                let kind = if who == "all" { "group" } else { "userId" };
                xml.text(kind, who);
            },
        );
        Ok(())
    }
}
