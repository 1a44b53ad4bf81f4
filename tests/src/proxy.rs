//! A reverse proxy in front of an S3 server: it counts, causes faults, and can be as slow as a network.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use regex::bytes::Regex;
use rustix::net::sockopt::set_socket_linger;

use crate::hostile::Hostile;

/// How many bytes are passed on at a time.
const STEP: usize = 64 * 1024;

/// S3's limit on the difference between a request's date and its own clock.
const MOST_SKEW: Duration = Duration::from_secs(900);

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

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// `PUT`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many bytes of its body were read.
    pub body: u64,
    /// How many bytes of the answer's body were sent.
    pub answer: u64,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How slow it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slowness {
    /// Added to every round trip.
    pub latency: Duration,
    /// The most bytes a second in either direction of a connection; 0 means unlimited.
    pub rate: u64,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<Request>,
    faults: u64,
    held: u64,
}

/// A proxy that lives as long as the process.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// A proxy in front of `server`.
    pub fn start(server: SocketAddr, slowness: Slowness) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let _ = thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let state = Arc::clone(&shared);
                let _ = thread::spawn(move || {
                    thread::sleep(slowness.latency);
                    // Either side may close the connection at any time.
                    let _ = serve(&client, server, slowness, &state);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Applies these rules from now on, and forgets all requests.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        *self.locked() = State {
            rules,
            ..State::default()
        };
    }

    /// How many faults it has caused since the rules were set.
    pub fn faults(&self) -> u64 {
        self.locked().faults
    }

    /// How many held requests the server has answered.
    pub fn held(&self) -> u64 {
        self.locked().held
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.locked().requests.clone()
    }

    /// How many bytes of bodies have been uploaded and downloaded so far.
    pub fn bytes(&self) -> (u64, u64) {
        let requests = &self.locked().requests;
        (
            requests.iter().map(|request| request.body).sum(),
            requests.iter().map(|request| request.answer).sum(),
        )
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

struct Head {
    first: String,
    headers: Vec<(String, String)>,
    raw: Vec<u8>,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut raw = Vec::new();
        let mut lines = Vec::new();
        loop {
            let begin = raw.len();
            if reader.read_until(b'\n', &mut raw)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&raw[begin..]).trim().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let headers = lines[1..].iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Some(Self {
            first: lines[0].clone(),
            headers: headers.collect(),
            raw,
        }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    fn with(&self, name: &str, value: &str) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (header, old) in &self.headers {
            let is_it = header.eq_ignore_ascii_case(name);
            text.push_str(&format!(
                "{header}: {}\r\n",
                if is_it { value } else { old }
            ));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Limits the rate of bytes.
struct Pace {
    rate: u64,
    begin: Instant,
    passed: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self {
            rate,
            begin: Instant::now(),
            passed: 0,
        }
    }

    fn pass(&mut self, count: usize) {
        self.passed += count as u64;
        if let Some(micros) = (self.passed * 1_000_000).checked_div(self.rate) {
            let due = self.begin + Duration::from_micros(micros);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

fn serve(
    client: &TcpStream,
    server: SocketAddr,
    slowness: Slowness,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut from_client = BufReader::with_capacity(STEP, client.try_clone()?);
    let mut to_client = client.try_clone()?;
    let mut upstream: Option<(TcpStream, BufReader<TcpStream>)> = None;
    while let Some(head) = Head::read(&mut from_client)? {
        let mut words = head.first.split(' ').map(str::to_owned);
        let (method, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let length = head.length().unwrap_or(0);
        let (action, number) = {
            let mut state = state.lock().unwrap();
            state.requests.push(Request {
                method: method.clone(),
                path: path.clone(),
                headers: head.headers.clone(),
                body: 0,
                answer: 0,
            });
            (find(&mut state, &method, &path), state.requests.len() - 1)
        };
        let count = |change: &dyn Fn(&mut Request)| {
            if let Some(request) = state.lock().unwrap().requests.get_mut(number) {
                change(request);
            }
        };
        if let Some(Action::Answer {
            status,
            headers,
            body,
        }) = refusal(action.as_ref(), &head)
        {
            let _ = std::io::copy(&mut (&mut from_client).take(length), &mut std::io::sink())?;
            thread::sleep(slowness.latency);
            let lines: String = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let sent = if method == "HEAD" { "" } else { body.as_str() };
            write!(
                to_client,
                "HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n{sent}",
                body.len()
            )?;
            continue;
        }
        if let Some(Action::Hold { passed_on: false } | Action::Hostile(_)) = &action {
            let _ = std::io::copy(&mut (&mut from_client).take(length), &mut std::io::sink())?;
            if let Some(Action::Hostile(hostile)) = &action {
                hostile.answer(&mut to_client)?;
            } else {
                wait_for_end(client);
            }
            return Ok(());
        }
        let (to_server, from_server) = match &mut upstream {
            Some(open) => open,
            None => {
                let stream = TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                let reader = BufReader::with_capacity(STEP, stream.try_clone()?);
                upstream.insert((stream, reader))
            }
        };
        to_server.write_all(&head.raw)?;
        if head.header("expect").is_some() {
            to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let stop = match action {
            Some(Action::ResetUpload(stop) | Action::StallUpload(stop)) => stop as u64,
            _ => u64::MAX,
        };
        let mut pace = Pace::new(slowness.rate);
        let uploaded = pass(
            &mut from_client,
            to_server,
            length.min(stop),
            &mut pace,
            |bytes| {
                count(&|request| request.body += bytes as u64);
            },
        )?;
        if uploaded < length {
            if matches!(action, Some(Action::StallUpload(_))) {
                wait_for_end(client);
            } else {
                set_socket_linger(client, Some(Duration::ZERO))?;
            }
            return Ok(());
        }
        let answer = loop {
            match Head::read(from_server)? {
                None => return Ok(()),
                // The client has already been told to continue.
                Some(answer) if answer.first.contains(" 100 ") => {}
                Some(answer) => break answer,
            }
        };
        if matches!(action, Some(Action::Hold { .. })) {
            state.lock().unwrap().held += 1;
            wait_for_end(client);
            return Ok(());
        }
        thread::sleep(slowness.latency);
        match &action {
            Some(Action::Header(name, value)) => to_client.write_all(&answer.with(name, value))?,
            _ => to_client.write_all(&answer.raw)?,
        }
        let status = answer.first.split(' ').nth(1).unwrap_or_default();
        if method == "HEAD" || matches!(status, "204" | "304") {
            continue;
        }
        let mut pace = Pace::new(slowness.rate);
        let see = |bytes: usize| count(&|request| request.answer += bytes as u64);
        if answer.header("transfer-encoding").is_some() {
            pass_chunks(from_server, &mut to_client, &mut pace, see)?;
            continue;
        }
        let Some(length) = answer.length() else {
            // Passes on everything up to the end; the connection is not used again.
            let _ = pass(from_server, &mut to_client, u64::MAX, &mut pace, see);
            return Ok(());
        };
        let stop = match action {
            Some(Action::CutDownload(stop) | Action::StallDownload(stop)) => {
                (stop as u64).min(length)
            }
            Some(Action::AlterDownload) => length.saturating_sub(1),
            _ => length,
        };
        let _ = pass(from_server, &mut to_client, stop, &mut pace, see)?;
        match action {
            Some(Action::AlterDownload) => {
                let mut last = [0];
                from_server.read_exact(&mut last)?;
                to_client.write_all(&[last[0] ^ 1])?;
            }
            Some(Action::StallDownload(_)) => {
                wait_for_end(client);
                return Ok(());
            }
            Some(Action::CutDownload(_)) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn find(state: &mut State, method: &str, path: &str) -> Option<Action> {
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
    let rule = state.rules.iter_mut().find_map(|rule| {
        let is_method = rule.method.is_empty() || rule.method == method;
        let is_it = is_method && rule.times != Some(0) && rule.path.is_match(path.as_bytes());
        let passes = rule.skip > 0;
        rule.skip -= u32::from(is_it && passes);
        (is_it && !passes).then_some(rule)
    })?;
    rule.times = rule.times.map(|times| times - 1);
    let action = rule.action.clone();
    state.faults += 1;
    Some(action)
}

fn refusal(action: Option<&Action>, head: &Head) -> Option<Action> {
    match action {
        Some(answer @ Action::Answer { .. }) => Some(answer.clone()),
        Some(Action::Clock(ahead)) => {
            let now = SystemTime::now() + *ahead;
            let date = head.header("x-amz-date").and_then(seconds_of_date);
            let now = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            if date.is_some_and(|date| date.abs_diff(now) < MOST_SKEW.as_secs()) {
                return None;
            }
            let body =
                "<Error><Code>RequestTimeTooSkewed</Code><Message>made by a test</Message></Error>";
            Some(Action::Answer {
                status: 403,
                headers: vec![("Date".to_owned(), http_date(now))],
                body: body.to_owned(),
            })
        }
        _ => None,
    }
}

/// `20261121T102427Z`, as seconds since 1970.
fn seconds_of_date(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let seconds = number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?;
    u64::try_from(days_since_1970(year, month, day) * 86400 + seconds).ok()
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year)
        .map(|year| if is_leap(year) { 366 } else { 365 })
        .sum();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths
        .iter()
        .take(usize::try_from(month - 1).unwrap_or(0))
        .sum();
    years + months + day - 1
}

fn http_date(seconds: u64) -> String {
    let text = std::process::Command::new("date")
        .args(["-u", "-R", "-d", &format!("@{seconds}")])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    String::from_utf8(text.stdout)
        .unwrap()
        .trim()
        .replace("+0000", "GMT")
}

fn pass(
    from: &mut impl BufRead,
    to: &mut impl Write,
    length: u64,
    pace: &mut Pace,
    see: impl Fn(usize),
) -> std::io::Result<u64> {
    let mut left = length;
    while left > 0 {
        let bytes = from.fill_buf()?;
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            break;
        }
        to.write_all(&bytes[..count])?;
        from.consume(count);
        see(count);
        pace.pass(count);
        left -= count as u64;
    }
    Ok(length - left)
}

/// `transfer-encoding: chunked`, without trailers.
fn pass_chunks(
    from: &mut impl BufRead,
    to: &mut impl Write,
    pace: &mut Pace,
    see: impl Fn(usize) + Copy,
) -> std::io::Result<()> {
    loop {
        let mut line = Vec::new();
        let _ = from.read_until(b'\n', &mut line)?;
        to.write_all(&line)?;
        let size = String::from_utf8_lossy(&line);
        let size = u64::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        // The chunk, and the end of its line.
        let _ = pass(from, to, size + 2, pace, see)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// Waits until the client closes its side.
fn wait_for_end(client: &TcpStream) {
    let mut scratch = vec![0; STEP];
    // Reads nothing, so that the client stalls once the system's buffers are full.
    loop {
        match client.peek(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
