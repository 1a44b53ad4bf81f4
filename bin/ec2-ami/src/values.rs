//! Values of options: how they are read, and why one is refused.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ami_cli::{Failure, shown_path};
use ami_ec2::{BlockDevice, BlockDeviceMapping, EbsBlockDevice, Tag};

/// AMIs' names (EC2 API reference, "RegisterImage").
pub fn image_name(text: &str) -> Result<String, String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&text.len()) && text.chars().all(is_fit) {
        return Ok(text.to_owned());
    }
    Err(
        "a name has 3 to 128 characters: letters, digits, blanks and ( ) [ ] . / - ' @ _"
            .to_owned(),
    )
}

/// A whole number within limits.
pub fn number<const LEAST: u64, const MOST: u64>(text: &str) -> Result<u64, String> {
    let number = text.parse().ok();
    let fit = number.filter(|number| (LEAST..=MOST).contains(number));
    fit.ok_or_else(|| format!("a number from {LEAST} to {MOST} is needed"))
}

/// FROM, which is not empty.
pub fn from(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("a file, a folder, a device, - or a snapshot is needed".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A description of an AMI or snapshot (EC2 API reference, "RegisterImage").
pub fn description(text: &str) -> Result<String, String> {
    match text.chars().count() <= 255 {
        true => Ok(text.to_owned()),
        false => Err("at most 255 characters are taken".to_owned()),
    }
}

/// `KEY=VALUE` (EC2 user guide, "Tag restrictions").
pub fn tag(text: &str) -> Result<Tag, String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is needed")?;
    if key.is_empty() || key.chars().count() > 127 || value.chars().count() > 255 {
        return Err("a key has 1 to 127 characters, a value at most 255".to_owned());
    }
    let is_ours = [ami_lifecycle::SOURCE_TAG, ami_lifecycle::COPY_TAG].contains(&key);
    if key.to_ascii_lowercase().starts_with("aws:") || is_ours {
        return Err(format!("the key {key} is reserved"));
    }
    Ok(Tag::new(key, value))
}

/// An ID that begins with this, a hyphen, and hex digits.
fn id(text: &str, begin: &str) -> Result<String, String> {
    let number = text
        .strip_prefix(begin)
        .and_then(|rest| rest.strip_prefix('-'));
    let is_hex = |number: &str| {
        (8..=17).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match number.is_some_and(is_hex) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "an ID is needed, such as {begin}-0123456789abcdef0"
        )),
    }
}

/// An AMI's ID.
pub fn image(text: &str) -> Result<String, String> {
    id(text, "ami")
}

/// A kernel's ID.
pub fn kernel(text: &str) -> Result<String, String> {
    id(text, "aki")
}

/// A RAM disk's ID.
pub fn ramdisk(text: &str) -> Result<String, String> {
    id(text, "ari")
}

/// A snapshot's ID.
pub fn snapshot(text: &str) -> Result<String, String> {
    id(text, "snap")
}

/// The ID of a snapshot or an AMI.
pub fn snapshot_or_image(text: &str) -> Result<String, String> {
    let other = |_| "an ID is needed, such as snap-0123456789abcdef0 or ami-0123456789abcdef0";
    Ok(snapshot(text).or_else(|_| image(text)).map_err(other)?)
}

/// A KMS key: its ID or ARN, or the name or ARN of an alias (KMS API reference, "DescribeKey": KeyId; "CreateAlias": AliasName).
pub fn kms_key(text: &str) -> Result<String, String> {
    let has_only = |text: &str, others: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        !text.is_empty() && text.chars().all(is_fit)
    };
    let is_id = |text: &str| has_only(text, "-");
    let is_alias = |text: &str| {
        let name = text.strip_prefix("alias/");
        name.is_some_and(|name| has_only(name, "/_-"))
    };
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_key = match parts[..] {
        ["arn", _, "kms", region, account, key] => {
            let is_key = key.strip_prefix("key/").is_some_and(is_id) || is_alias(key);
            !region.is_empty() && !account.is_empty() && is_key
        }
        _ => is_id(text) || is_alias(text),
    };
    match is_key {
        true => Ok(text.to_owned()),
        false => Err("a key's ID or ARN, alias/NAME or an alias's ARN is needed".to_owned()),
    }
}

/// The most bytes of UEFI's variables (EC2 API reference, "RegisterImage": UefiData).
const MOST_UEFI_DATA: usize = 65_536;

/// A file of text in base64.
pub fn base64_file(path: &Path) -> Result<String, Failure> {
    let refused =
        |reason: String| Failure::usage(format!("{} cannot be used: {reason}", shown_path(path)));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let most = MOST_UEFI_DATA as u64 + 1;
    let read = file.take(most).read_to_end(&mut bytes);
    let _ = read.map_err(|error| refused(error.to_string()))?;
    bytes.retain(|byte| !byte.is_ascii_whitespace());
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    if bytes.is_empty() || bytes.len() > MOST_UEFI_DATA || !bytes.iter().all(is_base64) {
        return Err(refused("it is not up to 64 KiB of base64".to_owned()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name of a device, such as `/dev/sdb`.
pub fn device(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("/dev/").unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    match !name.is_empty() && name.len() < 32 && name.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("a device is needed, such as /dev/sdb".to_owned()),
    }
}

/// The help for a [`mapping`]; in a doc comment the brackets would be links.
pub const MAPPING: &str = "A further device: DEVICE=ephemeralN, DEVICE=none or DEVICE=[SNAPSHOT]:[GIB]:[TYPE][:keep]; may be repeated";

/// `DEVICE=WHAT`: `ephemeral0`, `none`, or `[SNAPSHOT][:[GIB][:[TYPE][:keep]]]`, as EC2's older command-line tools had it.
pub fn mapping(text: &str) -> Result<BlockDeviceMapping, String> {
    const FORM: &str = "DEVICE=ephemeralN, DEVICE=none or DEVICE=[SNAPSHOT]:[GIB]:[TYPE][:keep] is needed, as in /dev/sdb=:100:gp3";
    let (name, what) = text.split_once('=').ok_or(FORM)?;
    let device_name = device(name)?;
    let number = what.strip_prefix("ephemeral");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let kind = if what == "none" {
        BlockDevice::None
    } else if number.is_some_and(is_number) {
        BlockDevice::InstanceStore(what.to_owned())
    } else {
        let mut parts = what.split(':');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let snapshot_id = part().map(snapshot).transpose()?;
        let size = part().map(|text| text.parse().ok().filter(|size| *size > 0));
        let volume_size = match size {
            Some(None) => return Err(FORM.to_owned()),
            size => size.flatten(),
        };
        let volume_type = part().map(str::to_owned);
        let keeps = match part() {
            None => false,
            Some("keep") => true,
            Some(_) => return Err(FORM.to_owned()),
        };
        if parts.next().is_some() || (snapshot_id.is_none() && volume_size.is_none()) {
            return Err(FORM.to_owned());
        }
        BlockDevice::Ebs(EbsBlockDevice {
            snapshot_id,
            volume_size,
            volume_type,
            delete_on_termination: Some(!keeps),
            ..EbsBlockDevice::default()
        })
    };
    Ok(BlockDeviceMapping { device_name, kind })
}

/// A disk image, a block device or a folder, which exists.
pub fn disk_or_folder(text: &str) -> Result<PathBuf, String> {
    match ami_cli::values::existing_folder(text) {
        Ok(folder) => Ok(folder),
        Err(_) => ami_cli::values::image_file(text)
            .map_err(|_| "a disk image, a block device or a folder is needed".to_owned()),
    }
}
