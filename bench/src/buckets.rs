//! The S3 server of the tests as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use end_to_end::proxy::{Proxy, Slowness};

use crate::Result;

/// A running server. Killed when dropped.
pub struct Buckets {
    process: Child,
    address: SocketAddr,
}

impl Buckets {
    /// Starts the program in `commands`; each bucket is a folder in `store`.
    pub fn start(commands: &Path, store: &Path) -> Result<Self> {
        let mut process = Command::new(commands.join("s3-server"))
            .arg(store)
            .arg("0")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no output")?;
        let _ = BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().trim_start_matches("http://").parse()?;
        Ok(Self { process, address })
    }

    /// Where clients find it on this machine.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where they find it behind a network, which is a proxy in this process.
    pub fn url_behind(&self, network: Slowness) -> String {
        Proxy::start(self.address, network).url()
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
