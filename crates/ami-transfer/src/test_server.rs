//! How the tests of this crate reach a server of their own.

use std::net::SocketAddr;

use ami_aws::Identity;
use ami_s3::{Endpoint, Settings, Signature};
use s3_server::{ACCESS_KEY, SECRET_KEY};

/// Settings for the server at this address; nothing is tried again.
pub(crate) fn settings(address: SocketAddr) -> Settings {
    Settings {
        identity: Identity::Given {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned().into(),
            token: None,
        },
        region: None,
        endpoint: Some(Endpoint::Server(format!("http://{address}"))),
        signature: Signature::V4,
        retry: false,
        requester_pays: false,
    }
}
