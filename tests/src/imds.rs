//! An instance metadata service on loopback, in either version.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Gives tokens, and refuses requests without one.
    V2Only,
    /// Does not know tokens, and refuses requests with one.
    V1Only,
    /// Answers with tokens never arrive, as behind a hop limit; requests without one are answered.
    V1BehindHopLimit,
    /// As [`V2Only`](Self::V2Only), but does not say how long its tokens live.
    V2WithoutLifetime,
    /// Gives a web page instead of a token, and answers requests without one.
    V1WithPages,
    /// Answers everything with this status.
    Refuses(u16),
}

/// A service that lives as long as the test.
#[derive(Debug)]
pub struct Service {
    /// The value for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

const TOKEN: &str = "a-token";

impl Service {
    /// Answers with these texts for these paths, and with 404 for all others.
    pub fn start(version: Version, answers: BTreeMap<String, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (Arc::new(answers), Arc::clone(&requests));
        let _ = thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                let _ = thread::spawn(move || serve(stream.unwrap(), version, &answers, &seen));
            }
        });
        Self { endpoint, requests }
    }

    /// The requests so far: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    version: Version,
    answers: &BTreeMap<String, String>,
    seen: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(count) if count > 0 => {}
                _ => return,
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let mut words = lines[0].split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        seen.lock().unwrap().push(format!("{method} {path}"));
        let token = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("x-aws-ec2-metadata-token")
                .then_some(value)
        });
        let refusal;
        let (status, headers, body) = match (version, method, token) {
            (Version::Refuses(status), ..) => {
                refusal = format!("{status} X");
                (refusal.as_str(), "x-note: of a refusal\r\n", "<a page>\n")
            }
            (Version::V1BehindHopLimit, "PUT", _) => continue,
            (Version::V2WithoutLifetime, "PUT", _) => ("200 OK", "", TOKEN),
            (Version::V1WithPages, "PUT", _) => ("200 OK", "", "<html>\n</html>"),
            (Version::V2Only, "PUT", _) => (
                "200 OK",
                "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
                TOKEN,
            ),
            (_, "PUT", _) => ("405 Method Not Allowed", "", ""),
            (Version::V2Only | Version::V2WithoutLifetime, _, Some(TOKEN))
            | (Version::V1Only | Version::V1BehindHopLimit | Version::V1WithPages, _, None) => {
                match answers.get(path) {
                    Some(text) => ("200 OK", "", text.as_str()),
                    None => ("404 Not Found", "", "no such item"),
                }
            }
            _ => ("401 Unauthorized", "", ""),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
