//! Where an answer says that the bucket is to be looked for.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::address::aws_region;

/// Another place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The same, in another region.
    Region(String),
    /// Another host, with its port, by the same scheme.
    Host(String),
}

/// Reads `x-amz-bucket-region`, `<Region>`, `<Endpoint>` and `Location` of an answer (S3 user guide, "Making requests", "Request
/// redirection"). A redirect to no scheme but the request's own is followed.
pub(crate) fn redirect_of(response: &HttpResponse) -> Option<Redirect> {
    let status = response.status().as_u16();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    // Other servers' 400s have nothing to do with regions.
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
    let host = element(&body, "Endpoint").or(location)?;
    Some(match regional(&host) {
        Some(region) => Redirect::Region(region),
        None => Redirect::Host(host),
    })
}

fn authority(url: &str) -> Option<String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    rest.split(['/', '?']).next().map(str::to_owned)
}

/// `BUCKET.s3-REGION.amazonaws.com`, where the bucket's name may have dots.
fn regional(host: &str) -> Option<String> {
    let begins = host.match_indices("s3").map(|(at, _)| at);
    begins
        .filter(|&at| at == 0 || host[..at].ends_with('.'))
        .find_map(|at| aws_region(&host[at..]))
}

/// The text of an element that has no attributes, in an error document, which is flat.
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
    fn regions_are_found_wherever_they_stand() {
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
    fn other_hosts_are_taken_as_they_are() {
        let host = Some(Redirect::Host("h:1".into()));
        assert_eq!(of(302, &[("location", "http://h:1/b?location")], ""), host);
        assert_eq!(
            of(307, &[], "<Error><Endpoint>h:1</Endpoint></Error>"),
            host
        );
    }

    #[test]
    fn errors_are_no_redirects() {
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
