//! Prints all text for users.
//!
//! It contains file names, servers' messages and values from manifests, whose authors must not be able to move a terminal's cursor,
//! reverse the direction of text or add lines of their own. So such text is printed as part of one line, in which control characters are
//! escaped ([`visible`]).

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::failure::{Failure, OrExit, exit};

/// A number and a noun, in the singular or plural.
pub fn counted<C: Display + PartialEq + From<u8>>(count: C, one: &str, more: &str) -> String {
    let what = if count == C::from(1) { one } else { more };
    format!("{count} {what}")
}

/// Prints our own text, of any number of lines, on standard output.
///
/// A closed pipe is not a reason to abandon a bundle half-way.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.or_exit(exit::OTHER),
    }
}

/// Prints a line on standard output and flushes it, because scripts read the lines as they come.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print_text(&format!("{}\n", visible(line)))
}

/// Prints a question on standard output, which is answered on the same line.
pub(crate) fn print_question(question: &str) -> Result<(), Failure> {
    print_text(&visible(question))
}

/// Prints a line on standard error. A failure cannot be reported anywhere.
pub(crate) fn tell_line(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(line));
}

/// Standard error for a log, each of whose writes is a line.
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        tell_line(text.strip_suffix('\n').unwrap_or(&text));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line in which characters that a terminal would obey, or that would end the line, are escaped.
pub fn visible(line: &str) -> Cow<'_, str> {
    if !line.contains(is_obeyed) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if is_obeyed(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// A path in which bytes that are not UTF-8 are escaped (`\xe9`), so that no two paths look alike.
pub fn shown_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Control characters (C0 except the tab, DEL, C1), line and paragraph separators, and characters that change the direction of
/// text (Unicode standard annex 9, table "Explicit directional formatting characters").
fn is_obeyed(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_12_what_a_terminal_would_obey_is_shown() {
        for (line, shown) in [
            ("/srv/päth\twith 日本 🎉", "/srv/päth\twith 日本 🎉"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\nERROR: b\r", "a\\nERROR: b\\r"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            ("gpj\u{202e}.exe\u{2069}", "gpj\\u{202e}.exe\\u{2069}"),
            ("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c"),
            ("a\u{200f}\u{61c}", "a\\u{200f}\\u{61c}"),
        ] {
            assert_eq!(visible(line), shown);
        }
        assert!(matches!(visible("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn finding_25m_one_is_not_many() {
        let files = |count: u64| counted(count, "file", "files");
        assert_eq!([0, 1, 2].map(files), ["0 files", "1 file", "2 files"]);
        assert_eq!(counted(1_usize, "part", "parts"), "1 part");
    }

    #[test]
    fn finding_12_bytes_that_are_no_text_are_shown() {
        let shown = |bytes: &[u8]| shown_path(std::ffi::OsStr::from_bytes(bytes).as_ref());
        assert_eq!(shown("/srv/päth".as_bytes()), "/srv/päth");
        assert_eq!(shown(b"/caf\xe9/\xff\xc3"), "/caf\\xe9/\\xff\\xc3");
    }
}
