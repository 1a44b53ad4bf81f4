//! `moto`, an S3 server that supports ACLs, locations and listings, and `boto3` to examine its contents.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::{Outcome, isolate, outcome};

/// An access key. Any is accepted.
pub const ACCESS_KEY: &str = "AKIDOFTHETESTS";

/// Its secret.
pub const SECRET_KEY: &str = "very/secret+key";

/// A server with an empty store; dropping it stops the server.
pub struct Moto {
    /// The address that it listens on.
    pub address: SocketAddr,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Python in the environment that `make test` makes.
pub fn python() -> PathBuf {
    let python = crate::cache().join("python-tests/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/python-tools tests",
        python.display()
    );
    python
}

impl Moto {
    /// Starts one.
    pub fn start() -> Self {
        let mut python = Command::new(python());
        let mut child = isolate(&mut python)
            .arg("-c")
            .arg(include_str!("moto.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env("NO_PROXY", "*")
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut moto = Self {
            address: ([127, 0, 0, 1], 0).into(),
            child,
            to,
            from,
        };
        let port = moto.answer()["port"].as_u64().unwrap();
        moto.address.set_port(u16::try_from(port).unwrap());
        moto
    }

    /// Calls one of `moto.py`'s functions.
    pub fn call(&mut self, name: &str, words: &[&str]) -> Value {
        self.call_with(name, words, json!({}))
    }

    /// The same, with named arguments.
    pub fn call_with(&mut self, name: &str, words: &[&str], named: Value) -> Value {
        let call = json!({"call": name, "words": words, "named": named});
        writeln!(self.to, "{call}").unwrap();
        self.answer()
    }

    /// Lets EC2 have these images in a region: each is a list of ID, location, owner and kind.
    pub fn images(&mut self, region: &str, images: Value) {
        let _ = self.call_with("images", &[region], json!({"found": images}));
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a command that finds it in AWS's place, with keys in its environment.
    pub fn run(&self, command: &mut Command) -> Outcome {
        let command = command.env("AWS_ENDPOINT_URL", self.url());
        let command = command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        outcome(command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        let _ = self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("moto.py: {e}: {line:?}"))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::Moto;

    /// As one signature in a thousand is.
    #[test]
    fn a_signature_of_version_2_with_four_slashes_is_one_for_s3() {
        let mut moto = Moto::start();
        let _ = moto.call("bucket", &["bundles.test"]);
        let mut stream = TcpStream::connect(moto.address).unwrap();
        let request =
            "GET /bundles.test/ HTTP/1.0\r\nHost: x\r\nAuthorization: AWS x:a/pL/zzh/b/c=\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("<ListBucketResult"), "{answer}");
    }
}
