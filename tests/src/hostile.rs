//! Answers of a server that attacks its clients.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// How much is sent at a time.
const STEP: usize = 64 * 1024;

/// An answer, after which the connection is closed.
#[derive(Debug, Clone)]
pub enum Hostile {
    /// The body repeats a text until the client closes the connection.
    Endless {
        /// HTTP's status.
        status: u16,
        /// How the body begins.
        begin: &'static str,
        /// The text that is repeated.
        again: &'static str,
    },
    /// As [`Endless`](Self::Endless), one byte at a time.
    Drip {
        /// HTTP's status.
        status: u16,
        /// The time between two bytes.
        every: Duration,
    },
    /// The head never ends.
    EndlessHead,
    /// A page of a listing that is always followed by another.
    EndlessPages {
        /// The page, with `$NEXT` for the marker of the next one.
        page: &'static str,
        /// How many pages were sent.
        count: Arc<AtomicU64>,
    },
    /// Exactly these bytes.
    Raw(Vec<u8>),
}

impl Hostile {
    /// An XML document that repeats an element.
    pub fn endless(status: u16, begin: &'static str, again: &'static str) -> Self {
        Self::Endless {
            status,
            begin,
            again,
        }
    }

    /// Sends the answer; fails when the client has closed the connection.
    pub(crate) fn answer(&self, client: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Endless {
                status,
                begin,
                again,
            } => {
                write!(client, "{}{begin}", head(*status))?;
                let step = again.repeat(STEP / again.len() + 1);
                loop {
                    client.write_all(step.as_bytes())?;
                }
            }
            Self::Drip { status, every } => {
                write!(client, "{}", head(*status))?;
                loop {
                    client.write_all(b" ")?;
                    sleep(*every);
                }
            }
            Self::EndlessHead => {
                client.write_all(b"HTTP/1.1 200 X\r\n")?;
                let step = "x-amz-meta-a: a\r\n".repeat(STEP / 16);
                loop {
                    client.write_all(step.as_bytes())?;
                }
            }
            Self::EndlessPages { page, count } => {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let body = page.replace("$NEXT", &format!("{number:09}"));
                write!(client, "{}{body}", head(200))
            }
            Self::Raw(bytes) => client.write_all(bytes),
        }
    }
}

/// A head without a length: the body ends with the connection.
fn head(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n")
}
