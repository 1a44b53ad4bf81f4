//! The HTTP clients: TLS with the right roots, and proxies, except for instance metadata.

use std::io::{ErrorKind, Read};
use std::path::Path;

use ami_files::{LimitReader, NotRegular};
use ami_http::Limited;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use openssl::x509::X509;
use tracing::debug;

use crate::error::Error;

/// AWS SDKs and tools reference guide, "General configuration settings": a file of PEM certificates to trust in place of the system's.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// The most bytes that such a file may have: sixty times Mozilla's list.
const LARGEST_BUNDLE: u64 = 16 << 20;

/// The error for a file without any.
const NO_CERTIFICATES: &str = "holds no certificates in PEM";

/// The most bytes of an answer other than an object. A page of S3's listing with a thousand of the longest keys has some 1.5 MB.
const MOST: u64 = 2 << 20;

/// Clients for AWS's services, which share their connections.
#[derive(Debug, Clone)]
pub struct Clients {
    /// For answers that are read as a whole: at most 2 MiB.
    pub answers: SharedHttpClient,
    /// For objects, which are streamed: only errors are limited.
    pub objects: SharedHttpClient,
}

/// Clients for AWS's services, using the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` configure.
///
/// # Errors
/// [`Error::CertificateFile`], [`Error::Tls`].
pub fn clients() -> Result<Clients, Error> {
    let context = tls_context()?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        connector(settings, components, context.clone())
    });
    Ok(Clients {
        answers: Limited::answers(client.clone(), MOST),
        objects: Limited::errors(client),
    })
}

/// A connector that uses the proxy in the environment.
pub(crate) fn connector(
    settings: Option<&HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
    context: TlsContext,
) -> Connector {
    let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
    let _ = builder.set_connector_settings(settings.cloned());
    if let Some(components) = components {
        let _ = builder.set_sleep_impl(components.sleep_impl());
    }
    builder
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build()
}

/// TLS with the right roots.
pub(crate) fn tls_context() -> Result<TlsContext, Error> {
    let builder = TlsContext::builder().with_trust_store(trust_store()?);
    builder
        .build()
        .map_err(|error| Error::Tls(error.to_string()))
}

fn trust_store() -> Result<TrustStore, Error> {
    if let Some(path) = std::env::var_os(CA_BUNDLE).filter(|path| !path.is_empty()) {
        return Ok(TrustStore::empty().with_pem_certificate(certificates(Path::new(&path))?));
    }
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(TrustStore::default());
    }
    debug!("this system has no CA certificates: using the built-in ones");
    let mut store = TrustStore::empty();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        if let Ok(pem) = X509::from_der(root).and_then(|root| root.to_pem()) {
            let _ = store.add_pem_certificate(pem);
        }
    }
    Ok(store)
}

/// Reads and checks the file, because the TLS library would panic over a bad one.
fn certificates(path: &Path) -> Result<Vec<u8>, Error> {
    let useless = |reason| Error::CertificateFile {
        variable: CA_BUNDLE,
        path: path.to_owned(),
        reason,
    };
    let mut pem = Vec::new();
    let _ = ami_files::open_regular(path)
        .and_then(|file| LimitReader::new(file, LARGEST_BUNDLE).read_to_end(&mut pem))
        .map_err(|error| {
            // `/dev/null`, for example, is readable but has no certificates.
            let is_no_file = error.get_ref().is_some_and(|e| e.is::<NotRegular>());
            useless(match error.kind() {
                _ if is_no_file => NO_CERTIFICATES,
                ErrorKind::FileTooLarge => "is larger than any file of certificates",
                _ => "cannot be read",
            })
        })?;
    match X509::stack_from_pem(&pem) {
        Ok(all) if !all.is_empty() => Ok(pem),
        _ => Err(useless(NO_CERTIFICATES)),
    }
}

/// For the chain of credentials. Metadata is never requested through a proxy, which would answer with its own instance's.
#[derive(Debug)]
pub(crate) struct AroundProxies {
    pub(crate) proxied: SharedHttpClient,
    pub(crate) direct: SharedHttpClient,
}

impl HttpClient for AroundProxies {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Choice {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct Choice {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

impl HttpConnector for Choice {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if is_metadata(request.uri()) {
            self.direct.call(request)
        } else {
            self.proxied.call(request)
        }
    }
}

/// Whether it is the instance metadata service, also at a configured address, or a container's at its link-local address.
fn is_metadata(uri: &str) -> bool {
    let rest = uri.strip_prefix("http://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    path.starts_with("latest/api/token")
        || path.starts_with("latest/meta-data/")
        || host.starts_with("169.254.")
        || host.starts_with("[fd00:ec2::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_distinguished_from_services() {
        for uri in [
            "http://169.254.169.254/latest/api/token",
            "http://127.0.0.1:1338/latest/meta-data/iam/security-credentials/",
            "http://169.254.170.2/v2/credentials/x",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(is_metadata(uri), "{uri}");
        }
        for uri in [
            "https://sts.eu-west-1.amazonaws.com/",
            "http://127.0.0.1:5000/",
            "https://latest/meta-data/",
        ] {
            assert!(!is_metadata(uri), "{uri}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = certificates(file.path()).unwrap_err().to_string();
        assert_eq!(
            said,
            format!(
                "AWS_CA_BUNDLE names {}, which holds no certificates in PEM",
                file.path().display()
            )
        );
    }
}
