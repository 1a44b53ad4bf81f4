//! Filters of the Describe actions: all must let a thing through, each by one of its values, where `*` and `?` are wildcards.

use super::Parameters;
use crate::error::Refused;
use crate::snapshot::Tags;

/// A filter of a request.
pub(super) struct Filter {
    name: String,
    values: Vec<String>,
}

/// Reads the filters; only these names, `tag-key` and `tag:KEY` are known.
pub(super) fn read(parameters: &Parameters, known: &[&str]) -> Result<Vec<Filter>, Refused> {
    let mut filters = Vec::new();
    for member in parameters.members("Filter") {
        let name = parameters.needed(&format!("{member}.Name"))?.to_owned();
        let values = parameters.list(&format!("{member}.Value"));
        let is_tag = name == "tag-key" || name.starts_with("tag:");
        if !is_tag && !known.contains(&name.as_str()) {
            let message = format!("The filter '{name}' is invalid");
            return Err(Refused::new("InvalidParameterValue", message));
        }
        if values.is_empty() || values.len() > 200 {
            let message = "The filter's values must be 1 to 200";
            return Err(Refused::new("InvalidParameterValue", message));
        }
        filters.push(Filter { name, values });
    }
    Ok(filters)
}

/// Whether all filters let a thing through that has these tags, and under a filter's name these values.
pub(super) fn let_through(
    filters: &[Filter],
    tags: &Tags,
    values: impl Fn(&str) -> Vec<String>,
) -> bool {
    filters.iter().all(|filter| {
        let found = match filter.name.strip_prefix("tag:") {
            Some(key) => tags.get(key).cloned().into_iter().collect(),
            None if filter.name == "tag-key" => tags.keys().cloned().collect(),
            None => values(&filter.name),
        };
        let fits = |found: &String| filter.values.iter().any(|pattern| matches(pattern, found));
        found.iter().any(fits)
    })
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(place, _)| place);
            let mut ends = ends.chain([text.len()]);
            ends.any(|place| matches(rest.as_str(), &text[place..]))
        }
        Some(first) => {
            let mut text = text.chars();
            text.next()
                .is_some_and(|found| first == '?' || first == found)
                && matches(rest.as_str(), text.as_str())
        }
    }
}
