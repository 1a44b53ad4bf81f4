//! Where EC2's certificate is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder below `/`, or below the older suite's home, that has the certificates.
const FOLDER: &str = "etc/ec2/amitools";

/// Where Amazon Linux has the older suite.
const AMAZON_LINUX_HOME: &str = "/opt/aws/amitools/ec2";

/// The certificate was not found.
#[derive(Debug, thiserror::Error)]
#[error(
    "EC2's certificate {file} was not found; looked in {}: get it with fetch-ec2-certificates (in share/ec2-ami-tools where this is installed), or give one with --ec2cert",
    .looked_in.join(", ")
)]
pub struct NotFound {
    /// The file's name.
    pub file: &'static str,
    /// The folders.
    pub looked_in: Vec<String>,
}

/// The certificate's file name for a region; each partition of AWS has its own.
fn file_name(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("us-gov-") => "cert-ec2-gov.pem",
        Some(region) if region.starts_with("cn-") => "cert-ec2-cn-north-1.pem",
        _ => "cert-ec2.pem",
    }
}

/// Finds the certificate: the one that was given, else the one in `$EC2_AMITOOL_HOME`, `$EC2_HOME`, `/`, or Amazon Linux's place.
///
/// `variable` looks up an environment variable.
///
/// # Errors
/// [`NotFound`] says where it looked and how to get it.
pub fn ec2_certificate(
    given: Option<&Path>,
    region: Option<&str>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, NotFound> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let file = file_name(region);
    let homes = ["EC2_AMITOOL_HOME", "EC2_HOME"]
        .into_iter()
        .filter_map(|name| variable(name).filter(|value| !value.is_empty()))
        .map(PathBuf::from)
        .chain(["/".into(), AMAZON_LINUX_HOME.into()]);
    let folders: Vec<PathBuf> = homes.map(|home| home.join(FOLDER)).collect();
    folders
        .iter()
        .map(|folder| folder.join(file))
        .find(|path| path.is_file())
        .ok_or_else(|| NotFound {
            file,
            looked_in: folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_partition_has_its_own() {
        assert_eq!(file_name(None), "cert-ec2.pem");
        assert_eq!(file_name(Some("eu-central-1")), "cert-ec2.pem");
        assert_eq!(file_name(Some("us-gov-east-1")), "cert-ec2-gov.pem");
        assert_eq!(file_name(Some("cn-northwest-1")), "cert-ec2-cn-north-1.pem");
    }

    #[test]
    fn it_is_looked_for_in_order() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let homes = |name: &str| match name {
            "EC2_AMITOOL_HOME" => Some(first.path().into()),
            "EC2_HOME" => Some(second.path().into()),
            _ => None,
        };
        let make = |home: &Path, file| {
            let folder = home.join(FOLDER);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), "").unwrap();
            folder.join(file)
        };
        let gov = |name: &str| ec2_certificate(None, Some("us-gov-west-1"), |_| homes(name));

        let error = ec2_certificate(None, Some("us-gov-west-1"), homes).unwrap_err();
        let expected = [
            first.path().join(FOLDER),
            second.path().join(FOLDER),
            "/etc/ec2/amitools".into(),
            Path::new(AMAZON_LINUX_HOME).join(FOLDER),
        ];
        assert_eq!(error.looked_in, expected.map(|p| p.display().to_string()));
        assert!(error.to_string().contains("fetch-ec2-certificates"));

        let later = make(second.path(), "cert-ec2-gov.pem");
        assert_eq!(gov("EC2_HOME").unwrap(), later);
        let earlier = make(first.path(), "cert-ec2-gov.pem");
        assert_eq!(
            ec2_certificate(None, Some("us-gov-west-1"), homes).unwrap(),
            earlier
        );
        let given = Path::new("/given.pem");
        assert_eq!(ec2_certificate(Some(given), None, homes).unwrap(), given);
    }
}
