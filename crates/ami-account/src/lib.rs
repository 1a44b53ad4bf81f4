//! What an account has in a region besides EC2's things, looked up: KMS keys ([`Account::key`]) and service quotas ([`Account::quota`]).
//!
//! ```no_run
//! # async fn story(aws: &ami_aws::Aws) -> Result<(), ami_account::Error> {
//! let account = ami_account::Account::new(aws, "eu-west-1", None);
//! let key = account.key("alias/mine").await?;
//! assert!(key.is_some_and(|key| key.flaws().is_empty()));
//! assert_eq!(account.quota(ami_account::Quota::Images).await?, Some(50_000));
//! # Ok(()) }
//! ```
//!
//! Both services speak AWS's JSON protocol 1.1 (`json.rs`). Nothing is changed here, so everything may be asked again.
//!
//! Not here: what follows from a key or a quota (`ami-lifecycle`).

mod account;
mod error;
mod json;
mod keys;
mod quotas;

pub use account::Account;
pub use error::Error;
pub use keys::{Flaw, Key};
pub use quotas::Quota;
