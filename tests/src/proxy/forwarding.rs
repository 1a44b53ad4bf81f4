//! A connection of a client's, and what is passed on of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::head::Head;
use super::rule::{Action, find};
use super::{Request, Slowness, State, clock};

/// How many bytes are passed on at a time.
const STEP: usize = 64 * 1024;

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

/// Passes the requests of a client on until either side closes the connection.
pub(super) fn serve(
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
            let action = find(&mut state.rules, &method, &path);
            state.faults += u64::from(action.is_some());
            (action, state.requests.len() - 1)
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
        if let Some(Action::Late(wait)) = &action {
            if head.header("expect").is_some() {
                to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut body = Vec::new();
            let _ = (&mut from_client).take(length).read_to_end(&mut body)?;
            thread::sleep(*wait);
            let mut late = TcpStream::connect(server)?;
            late.write_all(&head.raw)?;
            late.write_all(&body)?;
            let _ = late.read(&mut [0])?;
            state.lock().unwrap().late += 1;
            wait_for_end(client);
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

/// What is answered in the server's place.
fn refusal(action: Option<&Action>, head: &Head) -> Option<Action> {
    match action {
        Some(answer @ Action::Answer { .. }) => Some(answer.clone()),
        Some(Action::Clock(ahead)) => clock::refusal(*ahead, head.header("x-amz-date")),
        _ => None,
    }
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
