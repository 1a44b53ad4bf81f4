//! The parameters of a Query request: `Filter.1.Value.2=…`.

use std::collections::{BTreeMap, BTreeSet};

use hyper::http::request::Parts;

use crate::answer::Received;
use crate::ebs::query;
use crate::error::Refused;
use crate::snapshot::Tags;

/// Whose Query API a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryService {
    Ec2,
    Sts,
}

impl QueryService {
    /// By the name in a signature's scope.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "sts" => Self::Sts,
            _ => Self::Ec2,
        }
    }
}

/// All parameters of a request, by their full names.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// From the query and from the body, if that is a form.
    pub(crate) fn read(parts: &Parts, received: &Received) -> Self {
        let mut all = query(parts);
        let kind = parts.headers.get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/x-www-form-urlencoded") {
            let body = received.bytes();
            all.extend(form_urlencoded::parse(&body).into_owned());
        }
        Self(all)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn action(&self) -> String {
        self.get("Action").unwrap_or_default().to_owned()
    }

    /// Which service an unsigned request means, by its version.
    pub(crate) fn service(&self) -> QueryService {
        match self.get("Version") {
            Some("2011-06-15") => QueryService::Sts,
            _ => QueryService::Ec2,
        }
    }

    /// A parameter that must be there and not be empty.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, Refused> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Refused::missing(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refused::value(name, other)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| Refused::value(name, text))
    }

    /// One of some words.
    pub(crate) fn word(&self, name: &str, words: &[&str]) -> Result<Option<String>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if words.contains(&text) => Ok(Some(text.to_owned())),
            Some(text) => Err(Refused::value(name, text)),
        }
    }

    /// The members of a list, each by its prefix: `NAME.1`, `NAME.2`, in order.
    pub(crate) fn members(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}.");
        let keys = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
        let numbers = keys.filter_map(|key| key.split('.').next()?.parse::<u32>().ok());
        let numbers: BTreeSet<u32> = numbers.collect();
        numbers
            .into_iter()
            .map(|number| format!("{prefix}{number}"))
            .collect()
    }

    /// A list of texts.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let members = self.members(name);
        let values = members.iter().filter_map(|name| self.get(name));
        values.map(str::to_owned).collect()
    }

    /// Whether a structure or a list has anything.
    pub(crate) fn has(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.0
            .keys()
            .any(|key| key == name || key.starts_with(&prefix))
    }

    /// The names of what a structure has.
    pub(crate) fn names_in(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}.");
        let keys = self.0.keys();
        keys.filter_map(|key| key.strip_prefix(&prefix)).collect()
    }

    /// Refuses what an action does not know.
    pub(crate) fn check_known(&self, known: &[&str]) -> Result<(), Refused> {
        let first = |key: &str| key.split('.').next().unwrap_or_default().to_owned();
        let unknown = self.0.keys().find(|key| {
            let first = first(key);
            !["Action", "Version", "DryRun"].contains(&first.as_str())
                && !known.contains(&first.as_str())
        });
        match unknown {
            None => Ok(()),
            Some(key) => {
                let message = format!("The parameter {key} is not recognized");
                Err(Refused::new("UnknownParameter", message))
            }
        }
    }

    /// The tags of a list `Tag`, below a prefix that is empty or ends with a dot.
    pub(crate) fn tags(&self, prefix: &str) -> Result<Tags, Refused> {
        let mut tags = Tags::new();
        for member in self.members(&format!("{prefix}Tag")) {
            let key = self.needed(&format!("{member}.Key"))?;
            let value = self.get(&format!("{member}.Value")).unwrap_or_default();
            let refused = |message: &str| Err(Refused::new("InvalidParameterValue", message));
            if key.chars().count() > 127 || value.chars().count() > 255 {
                return refused("Tag keys have at most 127 characters, values 255");
            }
            if key.starts_with("aws:") {
                return refused("Tag keys starting with 'aws:' are reserved for internal use");
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return refused("Duplicate tag key");
            }
        }
        if tags.len() > 50 {
            return Err(Refused::new("TagLimitExceeded", "At most 50 tags"));
        }
        Ok(tags)
    }

    /// The tags that TagSpecification gives to a kind of resource; only these kinds may be named.
    pub(crate) fn specified_tags(&self, kind: &str, kinds: &[&str]) -> Result<Tags, Refused> {
        let mut tags = Tags::new();
        for member in self.members("TagSpecification") {
            let said = self.needed(&format!("{member}.ResourceType"))?;
            if !kinds.contains(&said) {
                let message =
                    format!("'{said}' is not a valid taggable resource type for this operation.");
                return Err(Refused::new("InvalidParameterValue", message));
            }
            let found = self.tags(&format!("{member}."))?;
            if said == kind {
                tags.extend(found);
            }
        }
        Ok(tags)
    }
}
