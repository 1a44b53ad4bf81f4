//! `boto3` and the AWS CLI, as clients of the double of EBS and EC2.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ebs_server::{ACCESS_KEY, SECRET_KEY};
use serde_json::{Value, json};

use crate::moto::python;
use crate::{Outcome, isolate, outcome};

/// Credentials: an access key, a secret key, and a session's token.
pub type Keys = (String, String, Option<String>);

/// The credentials that the double knows.
pub fn known_keys() -> Keys {
    (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned(), None)
}

/// A process of Python that sends requests, each once, and checks nothing before.
pub struct Boto {
    /// Whose requests they are.
    pub keys: Keys,
    /// Where they are sent.
    pub region: String,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Boto {
    /// Starts one, for a server.
    pub fn start(url: &str) -> Self {
        let mut python = Command::new(python());
        let mut child = isolate(&mut python)
            .arg("-c")
            .arg(include_str!("boto.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("NO_PROXY", "*")
            .env("DOUBLE_URL", url)
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut boto = Self {
            keys: known_keys(),
            region: "us-east-1".to_owned(),
            child,
            to,
            from,
        };
        assert_eq!(boto.answer(), json!({}));
        boto
    }

    /// Sends a request: `ebs`, `start_snapshot`, and its parameters. Gives `status`, and `answer` or else `code` and `reason`; status 0 is an
    /// error of botocore's own.
    pub fn call(&mut self, service: &str, method: &str, named: Value) -> Value {
        self.send(service, method, named);
        self.answer()
    }

    /// The answer of a request that must succeed.
    pub fn ok(&mut self, service: &str, method: &str, named: Value) -> Value {
        let mut result = self.call(service, method, named);
        assert!(result["answer"].is_object(), "{method}: {result}");
        result["answer"].take()
    }

    /// Sends a request whose answer nobody waits for.
    pub fn send(&mut self, service: &str, method: &str, named: Value) {
        let call = json!({"service": service, "method": method, "named": named, "keys": self.keys, "region": self.region});
        writeln!(self.to, "{call}").unwrap();
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        let _ = self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("boto.py: {e}: {line:?}"))
    }
}

impl Drop for Boto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the AWS CLI with the credentials that the double knows.
pub fn aws(url: &str, arguments: &[&str]) -> Outcome {
    let mut aws = Command::new(python().with_file_name("aws"));
    let _ = isolate(&mut aws)
        .args(["--endpoint-url", url, "--region", "us-east-1"])
        .args(arguments)
        .env("NO_PROXY", "*")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_MAX_ATTEMPTS", "1");
    outcome(&mut aws)
}

/// What the AWS CLI answers, as JSON; null if it prints nothing.
pub fn aws_ok(url: &str, arguments: &[&str]) -> Value {
    let result = aws(url, arguments);
    assert_eq!(result.code, 0, "{arguments:?}: {result:?}");
    match result.stdout.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap(),
    }
}
