//! Registering an AMI so that it converges: however often it is tried and whichever answers are lost, there is one AMI of the name.

use ami_ec2::{Image, Regional, RegisterImage};
use tracing::debug;

use crate::error::Error;
use crate::waiting::{Pauses, UNKNOWN};

/// How often RegisterImage is asked for: an answer that is lost is followed by looking, and then by another try.
const MOST_TRIES: u32 = 5;

/// EC2 API reference, "Error codes".
const NAME_TAKEN: &str = "InvalidAMIName.Duplicate";

/// An AMI that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Its ID.
    pub(crate) id: String,
    /// Whether it was made now.
    pub(crate) is_new: bool,
}

/// Registers an AMI. One that has the name already is taken if it is ours, which `is_ours` tells.
///
/// # Errors
/// [`Error::NameTaken`]; EC2 refuses, or cannot be asked.
pub(crate) async fn register_once(
    ec2: &Regional<'_>,
    request: &RegisterImage,
    is_ours: impl Fn(&Image) -> bool,
) -> Result<Registered, Error> {
    if let Some(id) = find(ec2, &request.name, &is_ours).await? {
        return Ok(Registered { id, is_new: false });
    }
    let mut tries = 1;
    loop {
        let error = match ec2.perform(request).await {
            Ok(answer) => {
                return Ok(Registered {
                    id: answer.image_id,
                    is_new: true,
                });
            }
            Err(error) => error,
        };
        if error.code() == Some(NAME_TAKEN) {
            return visible(ec2, request, &is_ours, tries > 1).await;
        }
        if !error.may_have_been_done() || tries == MOST_TRIES {
            return Err(error.into());
        }
        debug!("the answer to RegisterImage is lost: {error}");
        // A moment for EC2 to know it itself.
        let _ = Pauses::new(UNKNOWN).pause().await;
        if let Some(id) = find(ec2, &request.name, &is_ours).await? {
            return Ok(Registered { id, is_new: true });
        }
        tries += 1;
    }
}

/// The AMI that has the name, which EC2 may show only after a while.
async fn visible(
    ec2: &Regional<'_>,
    request: &RegisterImage,
    is_ours: &impl Fn(&Image) -> bool,
    is_new: bool,
) -> Result<Registered, Error> {
    let mut pauses = Pauses::new(UNKNOWN);
    loop {
        if let Some(id) = find(ec2, &request.name, is_ours).await? {
            return Ok(Registered { id, is_new });
        }
        if !pauses.pause().await {
            return Err(Error::NameTaken {
                name: request.name.clone(),
                region: ec2.region().to_owned(),
                image: None,
            });
        }
    }
}

/// Our AMI of that name, if there is one.
///
/// # Errors
/// [`Error::NameTaken`] by another; EC2 cannot be asked.
pub(crate) async fn find(
    ec2: &Regional<'_>,
    name: &str,
    is_ours: &impl Fn(&Image) -> bool,
) -> Result<Option<String>, Error> {
    let images = ec2.images_named(name).await?;
    // What has failed or is gone holds no name.
    let lives = |image: &Image| {
        let state = image.image_state.as_deref();
        !matches!(state, Some("deregistered" | "failed" | "error" | "invalid"))
    };
    let mut other = None;
    for image in images.into_iter().filter(lives) {
        let ours = is_ours(&image);
        match image.image_id {
            Some(id) if ours => return Ok(Some(id)),
            id => other = other.or(id),
        }
    }
    match other {
        None => Ok(None),
        Some(id) => Err(Error::NameTaken {
            name: name.to_owned(),
            region: ec2.region().to_owned(),
            image: Some(id),
        }),
    }
}
