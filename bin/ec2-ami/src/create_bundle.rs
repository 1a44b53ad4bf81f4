//! What `ec2-ami create` makes of a bundle, and of an instance store-backed AMI.

use std::path::PathBuf;

use ami_cli::{Context, Failure};
use ami_ec2::Grantee;
use ami_lifecycle::{Access, Bundle, Create, Error, OldImage, Place, add_devices, old_image};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::access::AccessOptions;
use crate::outcome::failure;
use crate::{in_s3, problems, values};

const BUNDLE: &str = "A bundle";

/// How the name of a bundle's manifest ends.
const MANIFEST: &str = ".manifest.xml";

/// What is behind the name of an AMI that takes after an older one.
const SUFFIX: &str = "-ebs";

/// How a bundle is read.
#[derive(Debug, Clone, Args)]
pub struct BundleOptions {
    /// The private key that the bundle was made for
    #[arg(short = 'k', long, value_name = "FILE", value_parser = ami_cli::values::existing_file, help_heading = BUNDLE)]
    privatekey: Option<PathBuf>,
    /// Check that this certificate's owner has signed the bundle's manifest
    #[arg(short = 'c', long, value_name = "FILE", value_parser = ami_cli::values::existing_file, help_heading = BUNDLE)]
    cert: Option<PathBuf>,
    /// Pay for the requests, if the bundle's bucket demands it
    #[arg(long, action = SetTrue, help_heading = BUNDLE)]
    requester_pays: bool,
    /// Make the AMI though the older one has product codes or a billing code, which the new one does not get
    #[arg(long, action = SetTrue, help_heading = BUNDLE)]
    yes: bool,
}

/// What FROM names, if it is a bundle.
pub struct Found {
    /// The bundle.
    pub bundle: Bundle,
    /// The AMI that is made of it.
    pub old: Option<OldImage>,
}

impl BundleOptions {
    /// Looks up the bundle that FROM names, if it names one.
    pub fn find(
        &self,
        from: &str,
        options: &AccessOptions,
        access: &Access,
        context: &Context,
    ) -> Result<Option<Found>, Failure> {
        let in_bucket = |bucket, manifest| -> Result<Place, Failure> {
            let s3 = ami_s3::Settings {
                requester_pays: self.requester_pays,
                ..options.s3(access)?
            };
            Ok(Place::Bucket {
                s3,
                bucket,
                manifest,
            })
        };
        // A file that is called so can be given as ./ami-…
        let id = values::image(from).ok();
        let is_bundle = id.is_some() || in_s3::is_address(from) || from.ends_with(MANIFEST);
        if !is_bundle {
            return self.refuse(from).map(|()| None);
        }
        let Some(private_key) = self.privatekey.clone() else {
            let what = if id.is_some() { "is made of" } else { "is" };
            return Err(Failure::usage(format!(
                "{from} {what} a bundle: -k must give the private key that it was made for"
            )));
        };
        let old = match &id {
            Some(id) => {
                let looking = old_image(access, id, context.interrupted());
                Some(problems::looked_up(looking)?)
            }
            None => None,
        };
        let place = match &old {
            Some(old) => in_bucket(old.bucket.clone(), old.manifest.clone())?,
            None if in_s3::is_address(from) => {
                let in_s3::Manifest { bucket, file } =
                    in_s3::manifest(from).map_err(Failure::usage)?;
                in_bucket(bucket, file)?
            }
            None => Place::Folder {
                manifest: PathBuf::from(from),
            },
        };
        let bundle = Bundle {
            place,
            private_key,
            certificate: self.cert.clone(),
        };
        Ok(Some(Found { bundle, old }))
    }

    /// Refuses the options of bundles for what is none.
    fn refuse(&self, from: &str) -> Result<(), Failure> {
        let given = [
            (self.privatekey.is_some(), "privatekey"),
            (self.cert.is_some(), "cert"),
            (self.requester_pays, "requester-pays"),
            (self.yes, "yes"),
        ];
        match given.iter().find(|(is_given, _)| *is_given) {
            None => Ok(()),
            Some((_, option)) => Err(Failure::usage(format!(
                "--{option} is for a bundle, whose manifest is called NAME{MANIFEST}, and {from} is none"
            ))),
        }
    }

    /// Why an AMI is not made of this older one.
    pub fn problem(&self, old: &OldImage) -> Option<Failure> {
        let is_lost = !old.codes.is_empty() && !self.yes;
        is_lost.then(|| {
            failure(Error::CodesLost {
                image: old.id.clone(),
                codes: old.codes.clone(),
            })
        })
    }
}

/// Whether options say to whom the AMI is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// To those who may start the older one, and to those named.
    Kept,
    /// To nobody.
    Dropped,
}

/// Takes from the older AMI what no option says.
pub fn take_after(
    create: &mut Create,
    old: &OldImage,
    sharing: Sharing,
    context: &Context,
) -> Result<(), Failure> {
    let description = || old.description.clone();
    create.description = create.description.take().or_else(description);
    let architecture = || old.architecture.clone();
    create.architecture = create.architecture.take().or_else(architecture);
    let root_device = || old.root_device.clone();
    create.root_device = create.root_device.take().or_else(root_device);
    let root = create.root_device.as_deref();
    add_devices(&mut create.devices, old.devices.clone(), root);
    for tag in &old.tags {
        if !create.tags.iter().any(|given| given.key == tag.key) {
            create.tags.push(tag.clone());
        }
    }
    if create.name.is_none() {
        return Ok(());
    }
    let share = &mut create.distribution.offer.share;
    if sharing == Sharing::Kept {
        for grantee in &old.shared_with {
            if !share.contains(grantee) {
                share.push(grantee.clone());
            }
        }
    }
    if old.is_public && !share.contains(&Grantee::All) {
        context.warn(&format!(
            "WARNING: everybody may start {}, but not the new AMI: --share all allows it",
            old.id
        ));
    }
    Ok(())
}

/// The name of an AMI that takes after an older one.
pub fn name_after(old: &OldImage) -> Result<String, Failure> {
    let name = format!("{}{SUFFIX}", old.name);
    values::image_name(&name).map_err(|reason| {
        Failure::usage(format!(
            "--name is needed, because {name:?} cannot be one: {reason}"
        ))
    })
}
