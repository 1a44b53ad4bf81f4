//! The first line and the headers of a request or an answer.

use std::io::{self, BufRead};

/// What comes before a body.
pub(super) struct Head {
    pub(super) first: String,
    /// With names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// As it came, with the empty line at its end.
    pub(super) raw: Vec<u8>,
}

impl Head {
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
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

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The same with another value of a header.
    pub(super) fn with(&self, name: &str, value: &str) -> Vec<u8> {
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
