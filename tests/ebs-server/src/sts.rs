//! STS: AssumeRole and GetCallerIdentity.

use std::time::{Duration, SystemTime};

use crate::answer::Answer;
use crate::dates;
use crate::ec2::Parameters;
use crate::error::Refused;
use crate::world::{Caller, Session, World};
use crate::xml::Xml;

/// The namespace of STS's answers.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

impl World {
    pub(crate) fn sts(
        &self,
        parameters: &Parameters,
        caller: &Caller,
        request: &str,
    ) -> Result<Answer, Refused> {
        let action = parameters.action();
        let mut xml = Xml::new();
        match action.as_str() {
            "AssumeRole" => self.assume_role(parameters, caller, request, &mut xml)?,
            "GetCallerIdentity" => xml.root("GetCallerIdentityResponse", NAMESPACE, |xml| {
                xml.within("GetCallerIdentityResult", |xml| {
                    xml.text("Arn", &caller.arn);
                    xml.text("UserId", "AIDATESTOFBUNDLES");
                    xml.text("Account", &caller.account);
                });
                xml.within("ResponseMetadata", |xml| xml.text("RequestId", request));
            }),
            _ => {
                let message = format!("Could not find operation {action}");
                return Err(Refused::new("InvalidAction", message));
            }
        }
        Ok(Answer::xml(200, xml.finish()))
    }

    fn assume_role(
        &self,
        parameters: &Parameters,
        caller: &Caller,
        request: &str,
        xml: &mut Xml,
    ) -> Result<(), Refused> {
        let validation = |message: &str| Refused::new("ValidationError", message);
        let arn = parameters
            .get("RoleArn")
            .filter(|arn| arn.len() >= 20)
            .ok_or_else(|| validation("RoleArn must have at least 20 characters"))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_=,.@-+".contains(c);
        let session = parameters
            .get("RoleSessionName")
            .filter(|name| (2..=64).contains(&name.len()) && name.chars().all(is_name))
            .ok_or_else(|| validation("RoleSessionName must have 2 to 64 characters"))?;
        let seconds = match parameters.get("DurationSeconds") {
            None => 3600,
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|seconds| (900..=43_200).contains(seconds))
                .ok_or_else(|| validation("DurationSeconds must be 900 to 43200"))?,
        };
        let role = self.settings.roles.iter().find(|role| {
            role.arn == arn
                && caller.account == self.settings.account
                && (role.external_id.is_none()
                    || role.external_id.as_deref() == parameters.get("ExternalId"))
        });
        let role = role.ok_or_else(|| {
            let who = &caller.arn;
            let message = format!(
                "User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            );
            Refused::new("AccessDenied", message).with_status(403)
        })?;
        let account = role.arn.split(':').nth(4).unwrap_or_default().to_owned();
        let name = role.arn.rsplit('/').next().unwrap_or_default();
        let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
        let mut things = self.things.lock();
        let key = format!("ASIA{:016X}", things.number());
        let made = Session {
            secret_key: format!("{:016x}{:016x}", things.number(), things.number()),
            token: format!("token/{:016x}{:016x}==", things.number(), things.number()),
            account,
            arn: arn.clone(),
            expires: SystemTime::now() + Duration::from_secs(seconds),
        };
        xml.root("AssumeRoleResponse", NAMESPACE, |xml| {
            xml.within("AssumeRoleResult", |xml| {
                xml.within("Credentials", |xml| {
                    xml.text("AccessKeyId", &key);
                    xml.text("SecretAccessKey", &made.secret_key);
                    xml.text("SessionToken", &made.token);
                    xml.text("Expiration", dates::iso(made.expires));
                });
                xml.within("AssumedRoleUser", |xml| {
                    xml.text("AssumedRoleId", format!("AROATESTOFBUNDLES:{session}"));
                    xml.text("Arn", &arn);
                });
            });
            xml.within("ResponseMetadata", |xml| xml.text("RequestId", request));
        });
        let _ = things.sessions.insert(key, made);
        Ok(())
    }
}
