//! The actions of EC2 that this suite uses, under the names and with the elements that EC2's API reference gives them; a file a subject.

pub(crate) mod account;
pub(crate) mod copying;
pub(crate) mod images;
pub(crate) mod offering;
pub(crate) mod regions;
pub(crate) mod registration;
pub(crate) mod snapshots;
pub(crate) mod tags;

/// A parameter of an action.
pub(crate) fn parameter(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// A parameter that is sent only if it has a value.
pub(crate) fn optional(name: &str, value: Option<&String>) -> Option<(String, String)> {
    value.map(|value| parameter(name, value))
}
