//! Addresses of bundles in S3: buckets, key prefixes, regions, locations.

use std::net::Ipv4Addr;
use std::str::FromStr;

use ami_aws::{DEFAULT_REGION, is_region};

/// A bucket and the key prefix of a bundle's files, as in `-b BUCKET/a/b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPath {
    /// The bucket's name.
    pub bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
}

/// The text is not a [`BucketPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a bucket is needed: NAME or NAME/FOLDER")]
pub struct NoBucket;

impl FromStr for BucketPath {
    type Err = NoBucket;

    /// Slashes at both ends are ignored. Those in between are kept, even repeated ones, as in the older suite.
    fn from_str(text: &str) -> Result<Self, NoBucket> {
        let text = text.trim_matches('/');
        let (bucket, folder) = text.split_once('/').unwrap_or((text, ""));
        if bucket.is_empty() {
            return Err(NoBucket);
        }
        let prefix = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl BucketPath {
    /// The key of a file of the bundle.
    pub fn key(&self, file: &str) -> String {
        format!("{}{file}", self.prefix)
    }

    /// Bucket and key of a file of the bundle, in EC2's form for a manifest's location.
    pub fn location(&self, file: &str) -> String {
        format!("{}/{}", self.bucket, self.key(file))
    }

    /// The name of the file with this key, if it is below this path.
    pub fn file<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.prefix)
    }

    /// Whether the bucket's name can be part of a host name (S3 user guide, "General purpose bucket naming rules").
    pub fn is_dns_safe(&self) -> bool {
        let name = self.bucket.as_str();
        let is_end =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        (3..=63).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && is_end(name.chars().next())
            && is_end(name.chars().next_back())
            && !["..", ".-", "-."].iter().any(|pair| name.contains(pair))
            && name.parse::<Ipv4Addr>().is_err()
    }
}

/// A bucket's location.
///
/// For S3, no name or `US` means `us-east-1`, and `EU` means `eu-west-1` (S3 API reference, `CreateBucketConfiguration`).
#[derive(Debug, Clone)]
pub struct Location(String);

impl Location {
    /// From S3's answer to `GetBucketLocation`, which is empty for `us-east-1`.
    pub fn of_answer(text: Option<&str>) -> Self {
        Self(
            text.filter(|text| !text.is_empty())
                .unwrap_or("US")
                .to_owned(),
        )
    }

    /// The region's name.
    pub fn region(&self) -> &str {
        match self.0.as_str() {
            "US" => DEFAULT_REGION,
            "EU" => "eu-west-1",
            region => region,
        }
    }

    /// The constraint for creating a bucket there: the region. Its own endpoint accepts it as well as any other.
    pub(crate) fn constraint(&self) -> Option<&str> {
        Some(self.region()).filter(|region| *region != DEFAULT_REGION)
    }

    /// As given, or as the older suite shows it.
    pub fn name(&self) -> &str {
        match self.0.as_str() {
            DEFAULT_REGION => "US",
            name => name,
        }
    }
}

impl FromStr for Location {
    /// The older suite gives no reason.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "US" | "EU") || is_region(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(String::new())
        }
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.region() == other.region()
    }
}

/// An endpoint given in place of AWS's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A server: scheme, host, port and optionally a path.
    Server(String),
    /// One of AWS's, given by its region: the SDK knows best how to reach that.
    Region(String),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WHAT: &str = "a URL such as https://s3.example.com:9000 is needed.";
        let (scheme, rest) = text.split_once("://").ok_or(WHAT)?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(WHAT.to_owned());
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let has_blank = text.contains(char::is_whitespace);
        if authority.is_empty() || has_blank || text.contains(['?', '#', '@']) {
            return Err(WHAT.to_owned());
        }
        let host = authority.split(':').next().unwrap_or_default();
        let host = host.to_ascii_lowercase();
        Ok(match aws_region(&host) {
            Some(region) => Self::Region(region),
            None => Self::Server(format!("{scheme}://{}", rest.trim_end_matches('/'))),
        })
    }
}

/// The region of `s3.REGION.amazonaws.com`, `s3-REGION.amazonaws.com`, `s3.amazonaws.com` and of China's names.
pub(crate) fn aws_region(host: &str) -> Option<String> {
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let name = host.strip_suffix(".amazonaws.com")?;
    if name == "s3" {
        return Some(DEFAULT_REGION.to_owned());
    }
    let region = name
        .strip_prefix("s3.")
        .or_else(|| name.strip_prefix("s3-"))?;
    let region = region.strip_prefix("dualstack.").unwrap_or(region);
    is_region(region).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_bucket_and_optionally_a_folder() {
        let parts = |text: &str| {
            let path: BucketPath = text.parse().unwrap();
            (path.bucket.clone(), path.key("f"), path.location("f"))
        };
        let all =
            |bucket: &str, key: &str, location: &str| (bucket.into(), key.into(), location.into());
        assert_eq!(parts("b"), all("b", "f", "b/f"));
        assert_eq!(parts("/b/"), all("b", "f", "b/f"));
        assert_eq!(parts("b/x/y/"), all("b", "x/y/f", "b/x/y/f"));
        assert_eq!(parts("//b//p//q//"), all("b", "/p//q/f", "b//p//q/f"));
        assert_eq!("".parse::<BucketPath>(), Err(NoBucket));
        assert_eq!("//".parse::<BucketPath>(), Err(NoBucket));
        let path: BucketPath = "b/x".parse().unwrap();
        assert_eq!((path.file("x/f"), path.file("y/f")), (Some("f"), None));
    }

    #[test]
    fn names_of_buckets_are_judged_as_s3_does() {
        let is_safe = |name: &str| name.parse::<BucketPath>().unwrap().is_dns_safe();
        for name in ["my.bucket", "abc", "a-b.c-d9", &"a".repeat(63)] {
            assert!(is_safe(name), "{name}");
        }
        for name in [
            "my_bucket",
            "MyBucket",
            "ab",
            "10.0.0.1",
            "my-.bucket",
            "my.-bucket",
            "a..b",
            "-ab",
            "ab-",
            &"a".repeat(64),
        ] {
            assert!(!is_safe(name), "{name}");
        }
    }

    #[test]
    fn locations_have_older_names() {
        let location = |text: &str| text.parse::<Location>().unwrap();
        assert_eq!(location("EU"), location("eu-west-1"));
        assert_eq!(location("US"), location("us-east-1"));
        assert_eq!(Location::of_answer(None), location("US"));
        assert_eq!(Location::of_answer(Some("")).name(), "US");
        assert_eq!(location("US").constraint(), None);
        assert_eq!(location("EU").constraint(), Some("eu-west-1"));
        assert_eq!(location("us-west-2").constraint(), Some("us-west-2"));
        assert!("moon-1".parse::<Location>().is_err());
    }

    #[test]
    fn urls_of_aws_give_a_region_and_others_a_server() {
        let endpoint = |text: &str| text.parse::<Endpoint>();
        let region = |name: &str| Ok(Endpoint::Region(name.into()));
        let server = |url: &str| Ok(Endpoint::Server(url.into()));
        assert_eq!(endpoint("https://s3.amazonaws.com/"), region("us-east-1"));
        assert_eq!(
            endpoint("https://s3-eu-west-1.amazonaws.com"),
            region("eu-west-1")
        );
        assert_eq!(
            endpoint("https://s3.cn-north-1.amazonaws.com.cn"),
            region("cn-north-1")
        );
        assert_eq!(
            endpoint("HTTPS://S3.eu-west-1.amazonaws.com"),
            region("eu-west-1")
        );
        assert_eq!(
            endpoint("HTTP://127.0.0.1:9000/"),
            server("http://127.0.0.1:9000")
        );
        assert_eq!(
            endpoint("http://127.0.0.1:9000/"),
            server("http://127.0.0.1:9000")
        );
        assert_eq!(
            endpoint("https://s3.evil.com"),
            server("https://s3.evil.com")
        );
        for text in [
            "127.0.0.1:9",
            "not a url",
            "ftp://host",
            "http://",
            "http://a b",
            "http://u:p@host",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
