//! A reverse proxy in front of an S3 server: it counts, causes faults, and can be as slow as a network.

mod clock;
mod forwarding;
mod head;
mod rule;

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub use rule::{Action, Rule};

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
    late: u64,
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
                    let _ = forwarding::serve(&client, server, slowness, &state);
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

    /// How many late requests the server has answered.
    pub fn late(&self) -> u64 {
        self.locked().late
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
