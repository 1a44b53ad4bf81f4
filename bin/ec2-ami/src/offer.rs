//! The options for what follows when an AMI is made.

use std::time::{Duration, SystemTime};

use ami_cli::Failure;
use ami_ec2::Grantee;
use ami_lifecycle::{Copy, Distribution, Offer, date};
use clap::ArgAction::SetTrue;
use clap::Args;

use crate::access::region;
use crate::create_bundle::Sharing;
use crate::values;

const OFFER: &str = "Copies and permissions";

/// The most days: ten years (EC2 user guide, "Deprecate an AMI").
const MOST_DAYS: u64 = 3652;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Copies, permissions, deprecation, protection.
#[derive(Debug, Clone, Args)]
pub struct OfferOptions {
    /// Copy the AMI to this region; may be repeated
    #[arg(long, value_name = "REGION", value_parser = region, help_heading = OFFER)]
    copy_to: Vec<String>,
    /// The KMS key that encrypts the copy, named as that of --kms-key-id: that of the region with the same place among --copy-to
    #[arg(long, value_name = "KEY", value_parser = values::kms_key, requires = "copy_to", help_heading = OFFER)]
    copy_kms_key: Vec<String>,
    /// Who may start instances of it: ACCOUNT, the ARN of an organisation or of a unit, all, or none (the default, but of an older AMI
    /// those who may start that one, too); may be repeated
    #[arg(long, value_name = "WHOM", value_parser = share, help_heading = OFFER)]
    share: Vec<Share>,
    /// From when on others do not find it in lists: DAYS from now, or YYYY-MM-DD
    #[arg(long, value_name = "WHEN", value_parser = when, help_heading = OFFER)]
    deprecate_after: Option<When>,
    /// Protect it and its copies from being deregistered
    #[arg(long, action = SetTrue, help_heading = OFFER)]
    protect: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Share {
    None,
    With(Grantee),
}

fn share(text: &str) -> Result<Share, String> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let is_of = |what: &str| text.starts_with("arn:") && text.contains(&format!(":{what}/"));
    let owned = || text.to_owned();
    Ok(match text {
        "none" => Share::None,
        "all" => Share::With(Grantee::All),
        text if is_account(text) => Share::With(Grantee::Account(owned())),
        _ if is_of("organization") => Share::With(Grantee::Organization(owned())),
        _ if is_of("ou") => Share::With(Grantee::Unit(owned())),
        _ => {
            let forms = "an account of 12 digits, the ARN of an organisation or unit, all or none";
            return Err(format!("{forms} is needed"));
        }
    })
}

/// A moment, as EC2 takes it, and as it was typed.
#[derive(Debug, Clone)]
struct When {
    at: String,
}

fn when(text: &str) -> Result<When, String> {
    const FORM: &str =
        "a number of days, at most ten years, or a date in the future as YYYY-MM-DD, is needed";
    if let Ok(days) = text.parse::<u64>() {
        let at = (1..=MOST_DAYS).contains(&days).then(|| {
            let days = u32::try_from(days).unwrap_or(u32::MAX);
            date::in_iso(SystemTime::now() + DAY * days)
        });
        let at = at.ok_or(FORM)?;
        return Ok(When { at });
    }
    let day = date::is_day(text).then(|| format!("{text}T00:00:00Z"));
    let day = day.filter(|day| *day > date::in_iso(SystemTime::now()));
    Ok(When {
        at: day.ok_or(FORM)?,
    })
}

impl OfferOptions {
    /// What becomes of those to whom an older AMI is offered.
    pub fn sharing(&self) -> Sharing {
        match self.share.contains(&Share::None) {
            true => Sharing::Dropped,
            false => Sharing::Kept,
        }
    }

    /// What follows. `encrypted`: the copies are, whatever the keys.
    pub fn distribution(&self, encrypted: bool) -> Result<Distribution, Failure> {
        if self.copy_kms_key.len() > self.copy_to.len() {
            return Err(Failure::usage(
                "there are more --copy-kms-key than --copy-to",
            ));
        }
        let repeated = (1..self.copy_to.len())
            .find(|&place| self.copy_to[..place].contains(&self.copy_to[place]));
        if let Some(place) = repeated {
            return Err(Failure::usage(format!(
                "--copy-to {} is given twice",
                self.copy_to[place]
            )));
        }
        let share: Vec<Grantee> = self
            .share
            .iter()
            .filter_map(|share| match share {
                Share::With(grantee) => Some(grantee.clone()),
                Share::None => None,
            })
            .collect();
        if self.share.contains(&Share::None) && !share.is_empty() {
            return Err(Failure::usage("--share none goes with no other --share"));
        }
        let mut keys = self.copy_kms_key.iter();
        let copies = self.copy_to.iter().map(|region| Copy {
            region: region.clone(),
            encrypted,
            kms_key: keys.next().cloned(),
        });
        Ok(Distribution {
            copies: copies.collect(),
            offer: Offer {
                share,
                deprecate_at: self.deprecate_after.as_ref().map(|when| when.at.clone()),
                protect: self.protect,
            },
        })
    }
}
