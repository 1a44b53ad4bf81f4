//! Redirects, and which of them are followed: a request carries a signature and the token of temporary credentials, which must not reach
//! other hosts.

use std::net::IpAddr;

use ami_aws::{Partition, is_region};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::address::aws_region;

/// The longest host name (RFC 1035), which is longer than any region's.
const LONGEST: usize = 255;

/// Where requests for a bucket are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) region: String,
    /// A server in place of AWS's.
    pub(crate) server: Option<String>,
}

/// Where an answer redirects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// Another region.
    Region(String),
    /// Another host, with its port.
    Host {
        /// Its name or address, optionally with a port.
        host: String,
        /// Whether TLS must be used, even if it was not before.
        is_secure: bool,
    },
}

impl Redirect {
    /// The new route; or, if it must not get these credentials, the region or host that the redirect names.
    ///
    /// From AWS, only redirects to regions of the same partition are followed, whose hosts the SDK knows. From a given server, only those to
    /// its own host and its subdomains. TLS is never given up.
    pub(crate) fn route(self, from: &Route, bucket: &str) -> Result<Route, String> {
        match (self, &from.server) {
            (Self::Region(region), None) => {
                let is_same = Partition::of(&region) == Partition::of(&from.region);
                if !is_region(&region) || !is_same {
                    return Err(region);
                }
                Ok(Route {
                    region,
                    server: None,
                })
            }
            (Self::Region(region), Some(_)) => {
                let is_name =
                    region.len() <= LONGEST && region.bytes().all(|b| b.is_ascii_graphic());
                if !is_name || region.contains('/') {
                    return Err(region);
                }
                Ok(Route {
                    region,
                    server: from.server.clone(),
                })
            }
            (Self::Host { host, .. }, None) => Err(host),
            (Self::Host { host, is_secure }, Some(server)) => {
                let (scheme, given) = server.split_once("://").unwrap_or(("https", server));
                let of_bucket = format!("{bucket}.");
                let at = host.strip_prefix(&of_bucket).unwrap_or(&host);
                let given = given.split('/').next().unwrap_or_default();
                if !is_of(at, given) {
                    return Err(host);
                }
                let scheme = if is_secure { "https" } else { scheme };
                Ok(Route {
                    region: from.region.clone(),
                    server: Some(format!("{scheme}://{at}")),
                })
            }
        }
    }
}

/// Whether a host is the given one or a subdomain, whatever the ports. All names and addresses of this machine count as one host.
fn is_of(authority: &str, given: &str) -> bool {
    let (Some(host), Some(given)) = (host(authority), host(given)) else {
        return false;
    };
    let address = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let is_loopback = |host: &str| {
        host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
    };
    let is_below = || address(&given).is_none() && host.ends_with(&format!(".{given}"));
    host == given || is_below() || (is_loopback(&host) && is_loopback(&given))
}

/// The host of `HOST` or `HOST:PORT` in lower case, if it is valid.
fn host(authority: &str) -> Option<String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_host = match is_bracketed {
        true => host[1..host.len() - 1].parse::<IpAddr>().is_ok(),
        false => !host.is_empty() && host.bytes().all(is_plain),
    };
    let is_good = is_host && host.len() <= LONGEST && port.parse::<u16>().is_ok();
    is_good.then(|| host.trim_end_matches('.').to_ascii_lowercase())
}

/// Reads `x-amz-bucket-region`, `<Region>`, `<Endpoint>` and `Location` of an answer (S3 user guide, "Making requests", "Request
/// redirection").
pub(crate) fn redirect_of(response: &HttpResponse) -> Option<Redirect> {
    let status = response.status().as_u16();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    // A 400 of other servers has nothing to do with regions.
    let is_other_region = status == 400
        && (body.contains("<Code>AuthorizationHeaderMalformed</Code>")
            || body.contains("<Code>IllegalLocationConstraintException</Code>"));
    if !matches!(status, 301 | 302 | 307 | 308) && !is_other_region {
        return None;
    }
    let header = response
        .headers()
        .get("x-amz-bucket-region")
        .map(str::to_owned);
    if let Some(region) = header.or_else(|| element(&body, "Region")) {
        return Some(Redirect::Region(region));
    }
    let location = response.headers().get("location").and_then(authority);
    let endpoint = element(&body, "Endpoint").map(|host| (host, false));
    let (host, is_secure) = endpoint.or(location)?;
    Some(match regional(&host) {
        Some(region) => Redirect::Region(region),
        None => Redirect::Host { host, is_secure },
    })
}

/// A URL's host and port, and whether it uses TLS.
fn authority(url: &str) -> Option<(String, bool)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_secure = scheme.eq_ignore_ascii_case("https");
    let authority = rest.split(['/', '?', '#']).next()?;
    (is_secure || scheme.eq_ignore_ascii_case("http")).then(|| (authority.to_owned(), is_secure))
}

/// The region of `BUCKET.s3-REGION.amazonaws.com`, where the bucket's name may have dots.
fn regional(host: &str) -> Option<String> {
    let begins = host.match_indices("s3").map(|(at, _)| at);
    begins
        .filter(|&at| at == 0 || host[..at].ends_with('.'))
        .find_map(|at| aws_region(&host[at..]))
}

/// The text of an element in an error document, which is flat and has no attributes.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::body::SdkBody;

    fn of(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Option<Redirect> {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            let _ = response.headers_mut().insert(*name, *value);
        }
        redirect_of(&response)
    }

    #[test]
    fn regions_are_found_wherever_the_answer_has_them() {
        let region = Some(Redirect::Region("eu-west-1".into()));
        assert_eq!(of(301, &[("x-amz-bucket-region", "eu-west-1")], ""), region);
        let malformed =
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert_eq!(of(400, &[], malformed), region);
        let endpoint = |host: &str| format!("<Error><Endpoint>{host}</Endpoint></Error>");
        assert_eq!(
            of(307, &[], &endpoint("a.s3.b.s3-eu-west-1.amazonaws.com")),
            region
        );
        assert_eq!(
            of(307, &[], &endpoint("s3.eu-west-1.amazonaws.com")),
            region
        );
    }

    #[test]
    fn other_hosts_are_read_as_they_are() {
        let host = Some(Redirect::Host {
            host: "h:1".into(),
            is_secure: false,
        });
        assert_eq!(of(302, &[("location", "http://h:1/b?location")], ""), host);
        assert_eq!(
            of(307, &[], "<Error><Endpoint>h:1</Endpoint></Error>"),
            host
        );
    }

    #[test]
    fn finding_21_no_other_host_gets_requests_for_the_server() {
        let to = |host: &str, server: Option<&str>| {
            let redirect = of(
                307,
                &[],
                &format!("<Error><Endpoint>{host}</Endpoint></Error>"),
            );
            let from = Route {
                region: "eu-west-1".into(),
                server: server.map(str::to_owned),
            };
            redirect
                .unwrap()
                .route(&from, "b")
                .map(|route| route.server)
        };
        let at = |url: &str| Ok(Some(url.to_owned()));
        let refused = |host: &str| Err(host.to_owned());
        let server = Some("https://s3.example.com:9000/path");
        assert_eq!(
            to("b.s3.example.com:1", server),
            at("https://s3.example.com:1")
        );
        assert_eq!(to("S3.example.com", server), at("https://S3.example.com"));
        assert_eq!(
            to("eu.s3.example.com", server),
            at("https://eu.s3.example.com")
        );
        for host in [
            "evil.example.com",
            "evils3.example.com",
            "s3.example.com.evil.com",
            "s3.example.com@evil.com",
            "evil.com/.s3.example.com",
            "evil.com#.s3.example.com",
            "evil.com\\.s3.example.com",
            "s3.example.com:99999",
            "127.0.0.1",
        ] {
            assert_eq!(to(host, server), refused(host));
            assert_eq!(to(host, None), refused(host));
        }
        let here = Some("http://127.0.0.1:9000");
        assert_eq!(to("localhost:1", here), at("http://localhost:1"));
        assert_eq!(to("[::1]:1", here), at("http://[::1]:1"));
        assert_eq!(to("x.127.0.0.1", here), refused("x.127.0.0.1"));
        assert_eq!(to("10.0.0.1", here), refused("10.0.0.1"));
        // Nor does a bucket's name make another host acceptable.
        assert_eq!(to("b.evil.com", server), refused("b.evil.com"));
    }

    #[test]
    fn finding_21_redirects_stay_in_the_partition() {
        let to = |region: &str, server: Option<&str>| {
            let from = Route {
                region: "eu-west-1".into(),
                server: server.map(str::to_owned),
            };
            let route = Redirect::Region(region.into()).route(&from, "b");
            route.map(|route| route.region)
        };
        assert_eq!(to("us-east-2", None), Ok("us-east-2".into()));
        for region in ["cn-north-1", "us-gov-west-1", "evil.com", "garage", ""] {
            assert_eq!(to(region, None), Err(region.into()));
        }
        assert_eq!(to("garage", Some("http://h")), Ok("garage".into()));
        assert_eq!(to("a/b", Some("http://h")), Err("a/b".into()));
    }

    #[test]
    fn finding_21_tls_is_never_given_up() {
        let from = |server: &str| Route {
            region: "eu-west-1".into(),
            server: Some(server.into()),
        };
        let to = |location: &'static str, server: &str| {
            let redirect = of(302, &[("location", location)], "").unwrap();
            redirect.route(&from(server), "b").unwrap().server.unwrap()
        };
        assert_eq!(to("http://h:1/x", "https://h"), "https://h:1");
        assert_eq!(to("HTTPS://h:1/x", "http://h"), "https://h:1");
        assert_eq!(to("http://h:1/x", "http://h"), "http://h:1");
    }

    #[test]
    fn errors_are_not_redirects() {
        assert_eq!(
            of(
                400,
                &[("x-amz-bucket-region", "eu-west-1")],
                "<Code>BadDigest</Code>"
            ),
            None
        );
        assert_eq!(of(404, &[], "<Endpoint>h</Endpoint>"), None);
        assert_eq!(of(301, &[], ""), None);
    }
}
