//! Finds EC2's certificate.
//!
//! In each region, EC2 can read only bundles that are encrypted for that region's certificate. Most regions share one; other partitions
//! of AWS, and some newer regions, have their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ami_region::Partition;

/// The folder of the certificates, below `/` or the older suite's home.
const FOLDER: &str = "etc/ec2/amitools";

/// The older suite's home on Amazon Linux.
const AMAZON_LINUX_HOME: &str = "/opt/aws/amitools/ec2";

/// The certificate that most regions share.
const COMMON: &str = "cert-ec2.pem";

/// Regions of the commercial partition that are known to have a certificate of their own: those in ec2-ami-tools 1.5.19.
const WITH_THEIR_OWN: [&str; 11] = [
    "af-south-1",
    "ap-east-1",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
];

/// The certificate was not found.
#[derive(Debug, thiserror::Error)]
#[error(
    "EC2's certificate {} was not found; looked in {}{}: get it with fetch-ec2-certificates (in share/ec2-ami-tools where this is installed), or give one with --ec2cert",
    .files.join(" or "),
    .looked_in.join(", "),
    .only_for.as_ref().map(|region| format!(", and EC2 in {region} reads no bundle for another certificate")).unwrap_or_default()
)]
pub struct NotFound {
    /// The file names that were looked for.
    pub files: Vec<String>,
    /// The folders that were searched.
    pub looked_in: Vec<String>,
    /// The region, if it is known not to share the common certificate.
    pub only_for: Option<String>,
}

/// The file names of a region's certificates, the most specific first.
struct Names {
    /// For this region only.
    own: Option<String>,
    /// Those that it shares with other regions.
    shared: &'static [&'static str],
}

impl Names {
    fn of(region: Option<&str>) -> Self {
        let Some(region) = region else {
            return Self {
                own: None,
                shared: &[COMMON],
            };
        };
        // Any other text is not the name of a region, and could lead to another folder.
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let own = region.chars().all(is_plain);
        Self {
            own: own.then(|| format!("cert-ec2-{region}.pem")),
            shared: match Partition::of(region) {
                Partition::Government => &["cert-ec2-gov.pem"],
                Partition::China => &["cert-ec2-cn.pem", "cert-ec2-cn-north-1.pem"],
                Partition::Commercial if !WITH_THEIR_OWN.contains(&region) => &[COMMON],
                _ => &[],
            },
        }
    }

    fn is_common(&self) -> bool {
        self.shared.contains(&COMMON)
    }
}

/// Finds the certificate: the given one, else the one for the region in `$EC2_AMITOOL_HOME`, `$EC2_HOME`, `/`, or Amazon Linux's
/// location.
///
/// A region's own `cert-ec2-REGION.pem` is preferred to its partition's certificate, and that to the one that most regions share.
/// `variable` looks up an environment variable.
///
/// # Errors
/// [`NotFound`]. For a region that is known to have its own certificate, no other is used.
pub fn ec2_certificate(
    given: Option<&Path>,
    region: Option<&str>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, NotFound> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let homes = ["EC2_AMITOOL_HOME", "EC2_HOME"]
        .into_iter()
        .filter_map(|name| variable(name).filter(|value| !value.is_empty()))
        .map(PathBuf::from)
        .chain(["/".into(), AMAZON_LINUX_HOME.into()]);
    let folders: Vec<PathBuf> = homes.map(|home| home.join(FOLDER)).collect();
    let region = region.filter(|region| !region.is_empty());
    let names = Names::of(region);
    let files = names.own.iter().map(String::as_str);
    files
        .chain(names.shared.iter().copied())
        .flat_map(|file| folders.iter().map(move |folder| folder.join(file)))
        .find(|path| path.is_file())
        .ok_or_else(|| NotFound {
            only_for: region.filter(|_| !names.is_common()).map(str::to_owned),
            looked_in: folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
            files: match names.shared {
                [] => names.own.into_iter().collect(),
                shared => shared.iter().map(|&file| file.to_owned()).collect(),
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    /// A home with empty files of these names.
    fn home(files: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::write(folder.join(file), "").unwrap();
        }
        home
    }

    /// The name of the file that is found in such a home, or the names that are missing.
    fn found(region: Option<&str>, files: &[&str]) -> Result<String, Vec<String>> {
        let home = home(files);
        let name = |name: &str| (name == "EC2_AMITOOL_HOME").then(|| home.path().into());
        match ec2_certificate(None, region, name) {
            Ok(path) if path.starts_with(home.path()) => {
                Ok(path.file_name().unwrap().to_str().unwrap().to_owned())
            }
            // A machine on which EC2's certificates are installed.
            Ok(path) => Err(vec![path.file_name().unwrap().to_str().unwrap().to_owned()]),
            Err(error) => Err(error.files),
        }
    }

    #[test]
    fn finding_27_a_regions_own_comes_before_its_partitions_and_the_common_one() {
        let all = [
            "cert-ec2.pem",
            "cert-ec2-gov.pem",
            "cert-ec2-cn.pem",
            "cert-ec2-cn-north-1.pem",
            "cert-ec2-me-south-1.pem",
            "cert-ec2-eu-west-1.pem",
            "cert-ec2-us-gov-east-1.pem",
        ];
        for (region, expected) in [
            (None, "cert-ec2.pem"),
            (Some(""), "cert-ec2.pem"),
            (Some("us-east-1"), "cert-ec2.pem"),
            (Some("eu-west-1"), "cert-ec2-eu-west-1.pem"),
            (Some("me-south-1"), "cert-ec2-me-south-1.pem"),
            (Some("us-gov-east-1"), "cert-ec2-us-gov-east-1.pem"),
            (Some("us-gov-west-1"), "cert-ec2-gov.pem"),
            (Some("cn-north-1"), "cert-ec2-cn-north-1.pem"),
            (Some("cn-northwest-1"), "cert-ec2-cn.pem"),
        ] {
            assert_eq!(found(region, &all).as_deref(), Ok(expected), "{region:?}");
        }
        let without_cn = ["cert-ec2.pem", "cert-ec2-cn-north-1.pem"];
        assert_eq!(
            found(Some("cn-northwest-1"), &without_cn).as_deref(),
            Ok("cert-ec2-cn-north-1.pem")
        );
        // Not the name of a region, and must not lead out of the folder.
        assert_eq!(
            found(Some("x/../../y"), &["cert-ec2.pem"]).as_deref(),
            Ok("cert-ec2.pem")
        );
    }

    #[test]
    fn finding_27_the_common_one_does_not_stand_in_for_a_regions_own() {
        let regions = WITH_THEIR_OWN.into_iter();
        for region in regions.chain(["us-iso-east-1", "eusc-de-east-1"]) {
            let file = format!("cert-ec2-{region}.pem");
            assert_eq!(Names::of(Some(region)).own.as_deref(), Some(file.as_str()));
            assert_eq!(Names::of(Some(region)).shared, [""; 0], "{region}");
        }
        assert_eq!(
            Names::of(Some("us-gov-west-1")).shared,
            ["cert-ec2-gov.pem"]
        );
        assert_eq!(
            Names::of(Some("cn-north-1")).shared,
            ["cert-ec2-cn.pem", "cert-ec2-cn-north-1.pem"]
        );
        let distinct: BTreeSet<&str> = WITH_THEIR_OWN.into();
        assert_eq!(distinct.len(), WITH_THEIR_OWN.len());
    }

    #[test]
    fn it_is_looked_for_in_order() {
        let (first, second) = (home(&[]), home(&[]));
        let homes = |name: &str| match name {
            "EC2_AMITOOL_HOME" => Some(first.path().into()),
            "EC2_HOME" => Some(second.path().into()),
            _ => None,
        };
        // Not a real region, so that no machine has its certificate.
        let region = Some("us-iso-test-1");
        let error = ec2_certificate(None, region, homes).unwrap_err();
        let folders = [
            first.path().join(FOLDER),
            second.path().join(FOLDER),
            "/etc/ec2/amitools".into(),
            Path::new(AMAZON_LINUX_HOME).join(FOLDER),
        ]
        .map(|path| path.display().to_string());
        assert_eq!(error.looked_in, folders);
        assert_eq!(
            error.to_string(),
            format!(
                "EC2's certificate cert-ec2-us-iso-test-1.pem was not found; looked in {}, and EC2 in us-iso-test-1 reads no bundle for \
                 another certificate: get it with fetch-ec2-certificates (in share/ec2-ami-tools where this is installed), or give one \
                 with --ec2cert",
                folders.join(", ")
            )
        );

        let file = |home: &Path| home.join(FOLDER).join("cert-ec2-us-iso-test-1.pem");
        fs::write(file(second.path()), "").unwrap();
        assert_eq!(
            ec2_certificate(None, region, homes).unwrap(),
            file(second.path())
        );
        fs::write(file(first.path()), "").unwrap();
        assert_eq!(
            ec2_certificate(None, region, homes).unwrap(),
            file(first.path())
        );
        let given = Path::new("/given.pem");
        assert_eq!(ec2_certificate(Some(given), None, homes).unwrap(), given);
    }
}
