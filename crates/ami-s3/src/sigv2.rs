//! Signature version 2, for old servers that know no other: a signer that replaces the SDK's.
//!
//! Amazon S3 developer guide, "Signing and authenticating REST requests" (the version of 2006-03-01).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::{
    AuthScheme, AuthSchemeEndpointConfig, AuthSchemeId, Sign,
};
use aws_smithy_runtime_api::client::identity::{Identity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{GetIdentityResolver, RuntimeComponents};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// The name of the scheme that it replaces, because endpoints list the schemes that they accept.
const SCHEME: AuthSchemeId = AuthSchemeId::new("sigv4");

/// The query parameters that name a subresource, which are signed, in this order.
const SUBRESOURCES: [&str; 6] = [
    "acl",
    "delete",
    "location",
    "ownershipControls",
    "tagging",
    "versioning",
];

/// Replaces the SDK's signer.
#[derive(Debug)]
pub(crate) struct Version2;

impl AuthScheme for Version2 {
    fn scheme_id(&self) -> AuthSchemeId {
        SCHEME
    }

    fn identity_resolver(
        &self,
        resolvers: &dyn GetIdentityResolver,
    ) -> Option<SharedIdentityResolver> {
        resolvers.identity_resolver(SCHEME)
    }

    fn signer(&self) -> &dyn Sign {
        self
    }
}

impl Sign for Version2 {
    fn sign_http_request(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        _: AuthSchemeEndpointConfig<'_>,
        components: &RuntimeComponents,
        _: &ConfigBag,
    ) -> Result<(), BoxError> {
        let credentials = identity
            .data::<Credentials>()
            .ok_or("signature version 2 needs an access key")?;
        let now = components
            .time_source()
            .map_or_else(SystemTime::now, |source| source.now());
        let date = DateTime::from(now).fmt(Format::HttpDate)?;
        let headers = request.headers_mut();
        let _ = headers.insert("x-amz-date", date);
        if let Some(token) = credentials.session_token() {
            let _ = headers.insert("x-amz-security-token", token.to_owned());
        }
        let text = text_to_sign(request);
        let key = PKey::hmac(credentials.secret_access_key().as_bytes())?;
        let mut signer = Signer::new(MessageDigest::sha1(), &key)?;
        let signature = encode_block(&signer.sign_oneshot_to_vec(text.as_bytes())?);
        let value = format!("AWS {}:{signature}", credentials.access_key_id());
        let _ = request.headers_mut().insert("authorization", value);
        Ok(())
    }
}

/// The string to sign. The date's line is empty, because `x-amz-date` is sent instead.
fn text_to_sign(request: &HttpRequest) -> String {
    let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
    let mut amz: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-"))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    amz.sort();
    let amz: String = amz
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    format!(
        "{}\n{}\n{}\n\n{amz}{}",
        request.method(),
        header("content-md5"),
        header("content-type"),
        resource(request.uri())
    )
}

/// The path as it is sent, which includes the bucket (path style), and the subresource.
fn resource(uri: &str) -> String {
    let behind_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path_begin = behind_scheme.find('/').unwrap_or(behind_scheme.len());
    let path_and_query = &behind_scheme[path_begin..];
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let path = if path.is_empty() { "/" } else { path };
    let is_named = |name: &&str| {
        query
            .split('&')
            .any(|item| item.split('=').next() == Some(*name))
    };
    let named: Vec<&str> = SUBRESOURCES
        .into_iter()
        .filter(|name| is_named(name))
        .collect();
    if named.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", named.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_paths_with_their_subresource() {
        for (uri, expected) in [
            (
                "http://h:80/bucket/a%20b/c?x-id=PutObject",
                "/bucket/a%20b/c",
            ),
            ("http://h/bucket?location", "/bucket?location"),
            ("http://h/bucket?delete=&x-id=y", "/bucket?delete"),
            ("http://h/bucket/?prefix=acl", "/bucket/"),
            ("http://h", "/"),
            ("/bucket/key", "/bucket/key"),
        ] {
            assert_eq!(resource(uri), expected, "{uri}");
        }
    }
}
