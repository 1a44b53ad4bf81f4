//! The double of EBS and EC2 as a process of its own, and a slow network in front of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ebs_server::Log;
use end_to_end::proxy::{Proxy, Slowness};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Result;

/// What lasts a tick of the processor times in /proc/PID/stat: USER_HZ, which is 100 on every architecture that EC2 has (proc(5)).
const TICK: f64 = 0.01;

/// A running double. Killed when dropped.
pub struct Double {
    process: Child,
    address: SocketAddr,
    /// Where the clients find it.
    pub url: String,
}

/// What the double says of a snapshot.
#[derive(Debug, Deserialize)]
pub struct Snapshot {
    pub id: String,
    pub state: String,
    pub blocks: Vec<u32>,
}

impl Double {
    /// Starts the program in `commands` with these options; `network`: a proxy stands in front of it, in this process.
    pub fn start(
        commands: &Path,
        store: &Path,
        options: &[&str],
        network: Option<Slowness>,
    ) -> Result<Self> {
        let mut process = Command::new(commands.join("ebs-server"))
            .arg("--store")
            .arg(store)
            .args(["--completes-after", "0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no output")?;
        let _ = BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().to_owned();
        let address = url.trim_start_matches("http://").parse()?;
        Ok(Self {
            url: network.map_or(url, |network| Proxy::start(address, network).url()),
            process,
            address,
        })
    }

    /// The requests so far.
    pub fn log(&self) -> Result<Log> {
        self.ask("GET", "log")
    }

    /// Its only snapshot, which must be complete.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut all: Vec<Snapshot> = self.ask("GET", "snapshots")?;
        match (all.pop(), all.is_empty()) {
            (Some(snapshot), true) if snapshot.state == "completed" => Ok(snapshot),
            (found, _) => Err(format!("not one completed snapshot, but {found:?}").into()),
        }
    }

    /// Writes a volume of the snapshot as a sparse file.
    pub fn export(&self, snapshot: &str, to: &Path) -> Result<()> {
        let to = to.display();
        let what = format!("export?snapshot={snapshot}&to={to}&reading=zeros");
        let _: serde_json::Value = self.ask("POST", &what)?;
        Ok(())
    }

    /// The processor time that it has used, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        cpu(&self.process.id().to_string())
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, what: &str) -> Result<T> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "{method} /_double/{what} HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(serde_json::from_str(body)?),
            _ => Err(format!("{what}: the double answered {answer}").into()),
        }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processor time that this process has used, in seconds: all of it for the proxy while a client runs.
pub fn own_cpu() -> Result<f64> {
    cpu("self")
}

fn cpu(process: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may contain anything. utime and stime are the 14th and 15th field, the name is the second.
    let (_, fields) = text.rsplit_once(") ").ok_or("no fields")?;
    let ticks: f64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<std::result::Result<f64, _>>()?;
    Ok(ticks * TICK)
}
