//! Credentials: given by the caller, or found by the SDK's chain.

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tracing::debug;
use zeroize::Zeroizing;

use crate::APP_NAME;
use crate::error::Error;
use crate::http::AroundProxies;
use crate::service_error::root_cause;
use ami_region::DEFAULT_REGION;

/// Whose credentials are used.
#[derive(Clone)]
pub enum Identity {
    /// These keys.
    Given {
        /// The access key's ID.
        access_key: String,
        /// The secret key.
        secret_key: Zeroizing<String>,
        /// The token of temporary credentials.
        token: Option<Zeroizing<String>>,
    },
    /// The SDK's default chain: environment, profiles, web identity, container, instance role.
    Chain {
        /// The profile to use instead of the environment's.
        profile: Option<String>,
    },
    /// A role that somebody assumes, perhaps one of another account.
    Role {
        /// Who assumes it.
        assumed_by: Box<Self>,
        /// The role.
        role: Role,
    },
}

/// A role, as STS knows it (STS API reference, "AssumeRole").
#[derive(Clone)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What the role's owner has agreed upon with whoever assumes it. It is nothing that others need to see.
    pub external_id: Option<Zeroizing<String>>,
}

impl Identity {
    /// The chosen profile, if any.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Self::Given { .. } => None,
            Self::Chain { profile } => profile.as_deref(),
            Self::Role { assumed_by, .. } => assumed_by.profile(),
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Given { .. } => "given credentials",
            Self::Chain { .. } => "chain of credentials",
            Self::Role { .. } => "a role",
        })
    }
}

/// Credentials, and the region from the same sources.
pub(crate) struct Resolved {
    /// Provides them.
    pub(crate) provider: SharedCredentialsProvider,
    /// The region, if there is one.
    pub(crate) region: Option<String>,
    /// Whether they can be renewed.
    pub(crate) can_be_renewed: bool,
}

/// Finds the credentials.
///
/// # Errors
/// [`Error::NoCredentials`], [`Error::Credentials`].
pub(crate) async fn resolve(
    identity: &Identity,
    http: &SharedHttpClient,
) -> Result<Resolved, Error> {
    let profile = match identity {
        Identity::Given {
            access_key,
            secret_key,
            token,
        } => {
            debug!("credentials: given on the command line");
            let token = token.as_ref().map(|token| token.to_string());
            let given = Credentials::new(access_key, secret_key.to_string(), token, None, "given");
            return Ok(Resolved {
                provider: SharedCredentialsProvider::new(given),
                region: environment_region(),
                can_be_renewed: false,
            });
        }
        Identity::Chain { profile } => profile,
        Identity::Role { assumed_by, role } => return of_role(assumed_by, role, http).await,
    };
    let configuration = load(profile.as_deref(), http).await;
    let provider = configuration
        .credentials_provider()
        .ok_or(Error::NoCredentials)?;
    let found = provide(&provider).await?;
    debug!("credentials: {}", source(&found));
    Ok(Resolved {
        region: configuration.region().map(|region| region.to_string()),
        provider,
        can_be_renewed: found.expiry().is_some(),
    })
}

/// The role's credentials, which STS gives to whoever may assume it. They are asked for at once, and again before they expire.
async fn of_role(
    assumed_by: &Identity,
    role: &Role,
    http: &SharedHttpClient,
) -> Result<Resolved, Error> {
    let base = Box::pin(resolve(assumed_by, http)).await?;
    let configuration = load(assumed_by.profile(), http).await;
    let region = base
        .region
        .clone()
        .unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let mut assuming = AssumeRoleProvider::builder(&role.arn)
        .session_name(APP_NAME)
        .region(Region::new(region))
        .configure(&configuration);
    if let Some(id) = &role.external_id {
        assuming = assuming.external_id(id.as_str());
    }
    let provider = assuming.build_from_provider(base.provider).await;
    let provider = SharedCredentialsProvider::new(provider);
    let _ = provide(&provider).await?;
    debug!("credentials: of the role {}", role.arn);
    Ok(Resolved {
        provider,
        region: base.region,
        can_be_renewed: true,
    })
}

/// The credentials of a provider.
async fn provide(provider: &SharedCredentialsProvider) -> Result<Credentials, Error> {
    match provider.provide_credentials().await {
        Ok(found) => Ok(found),
        Err(CredentialsError::CredentialsNotLoaded(why)) => {
            debug!("no credentials: {why:?}");
            Err(Error::NoCredentials)
        }
        Err(error) => Err(match ami_imds::refusal(&error) {
            Some(status @ 400..500) => {
                debug!(
                    "no credentials: the instance metadata service answers with status {status}"
                );
                Error::NoCredentials
            }
            Some(status) => Error::Credentials {
                reason: format!("the instance metadata service answers with status {status}"),
            },
            None => Error::Credentials {
                reason: root_cause(&error),
            },
        }),
    }
}

async fn load(profile: Option<&str>, http: &SharedHttpClient) -> SdkConfig {
    let client = AroundProxies {
        proxied: http.clone(),
        direct: ami_imds::http_client(),
    };
    let regions = aws_config::meta::region::RegionProviderChain::default_provider()
        .or_else(Region::from_static(DEFAULT_REGION));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .region(regions);
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

fn environment_region() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
}

/// Which link of the chain provided them.
fn source(credentials: &Credentials) -> &'static str {
    use AwsCredentialFeature as From;
    let features = credentials.get_property::<Vec<AwsCredentialFeature>>();
    let features = features.map(Vec::as_slice).unwrap_or_default();
    let is_from = |feature: &From| features.contains(feature);
    if is_from(&From::CredentialsImds) {
        "from the instance's role (instance metadata)"
    } else if is_from(&From::CredentialsHttp) {
        "from the container's role"
    } else if is_from(&From::CredentialsStsAssumeRoleWebId) {
        "from a web identity token"
    } else if is_from(&From::CredentialsSso) || is_from(&From::CredentialsProfileSso) {
        "from a single sign-on session"
    } else if is_from(&From::CredentialsStsAssumeRole) {
        "from a role that a profile assumes"
    } else if is_from(&From::CredentialsProcess) || is_from(&From::CredentialsProfileProcess) {
        "from a program that a profile names"
    } else if is_from(&From::CredentialsProfile) {
        "from a profile"
    } else if is_from(&From::CredentialsEnvVars) {
        "from environment variables"
    } else {
        "from the SDK's chain"
    }
}
