//! What is done with which requests.

use std::time::Duration;

use regex::bytes::Regex;

use crate::hostile::Hostile;

/// What is done with a request that a [`Rule`] matches.
#[derive(Debug, Clone)]
pub enum Action {
    /// It gets this answer, and does not reach the server.
    Answer {
        /// HTTP's status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The connection is reset after this many bytes of its body.
    ResetUpload(usize),
    /// Nothing more is read after this many bytes of its body.
    StallUpload(usize),
    /// The connection is closed after this many bytes of the answer's body.
    CutDownload(usize),
    /// Nothing more is sent after this many bytes of the answer's body.
    StallDownload(usize),
    /// The last byte of the answer's body is changed.
    AlterDownload,
    /// The answer has this header, in place of another of that name.
    Header(&'static str, String),
    /// The server's clock is ahead by this much, and it refuses requests whose date is not.
    Clock(Duration),
    /// Nothing is answered until the client closes the connection.
    Hold {
        /// Whether the server gets the request.
        passed_on: bool,
    },
    /// The server gets it only so much later, whether or not the client waits for that. There is no answer.
    Late(Duration),
    /// It gets a hostile answer.
    Hostile(Hostile),
}

/// What is done with which requests.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `PUT`, or anything if empty.
    pub method: String,
    /// A pattern for the path and query, without the SDK's `x-id` and a trailing slash.
    pub path: Regex,
    /// How often; `None` means always.
    pub times: Option<u32>,
    /// How many matching requests pass before.
    pub skip: u32,
    /// What is done.
    pub action: Action,
}

impl Rule {
    /// A rule; `path` is a regular expression.
    pub fn new(method: &str, path: &str, times: Option<u32>, action: Action) -> Self {
        Self {
            method: method.to_owned(),
            path: Regex::new(path).unwrap(),
            times,
            skip: 0,
            action,
        }
    }

    /// The same, from the request with this number on, counted from 0.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Answers with an S3 error.
    pub fn error(method: &str, path: &str, times: Option<u32>, status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>made by a test</Message></Error>"
        );
        let headers = vec![("Content-Type".to_owned(), "application/xml".to_owned())];
        Self::new(
            method,
            path,
            times,
            Action::Answer {
                status,
                headers,
                body,
            },
        )
    }
}

/// What the first rule for a request says. The rule is used once less then.
pub(super) fn find(rules: &mut [Rule], method: &str, path: &str) -> Option<Action> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let named: Vec<&str> = query
        .split('&')
        .filter(|item| !item.starts_with("x-id="))
        .collect();
    let (path, query) = (path.trim_end_matches('/'), named.join("&"));
    let path = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    let rule = rules.iter_mut().find_map(|rule| {
        let is_method = rule.method.is_empty() || rule.method == method;
        let is_it = is_method && rule.times != Some(0) && rule.path.is_match(path.as_bytes());
        let passes = rule.skip > 0;
        rule.skip -= u32::from(is_it && passes);
        (is_it && !passes).then_some(rule)
    })?;
    rule.times = rule.times.map(|times| times - 1);
    Some(rule.action.clone())
}
