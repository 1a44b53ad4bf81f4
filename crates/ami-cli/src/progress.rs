//! A progress bar on a terminal; nothing anywhere else, and nothing with `--batch`: what runs a command so may give it a terminal all
//! the same, and reads its status lines (`ssh -tt`).

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;
use crate::print::counted;

/// Up a line and down again: to the beginning of the same line on the screen, and of a new one in what the terminal is sent.
const NEW_LINE_IN_PLACE: &[u8] = b"\x1b[A\n";

/// A bar of bytes. It goes away when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar up to `total` bytes, if standard error is a terminal and somebody is there to see it.
    pub fn bytes(context: &Context, total: u64) -> Self {
        let target = if std::io::stderr().is_terminal() && !context.is_batch() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template =
            "{bar:30} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// A bar up to `total` bytes of so many files.
    pub fn files(context: &Context, total: u64, files: u64) -> Self {
        let progress = Self::bytes(context, total);
        let files = counted(files, "file", "files");
        let template = format!(
            "{{bar:30}} {{percent:>3}}%  {{msg}} of {files}  {{bytes}} of {{total_bytes}}  {{bytes_per_sec}}  {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            progress.0.set_style(style);
        }
        progress
    }

    /// Notes how many files are done.
    pub fn set_files(&self, done: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(done.to_string());
        }
    }

    /// Notes that `count` more bytes are done.
    pub fn add(&self, count: u64) {
        self.0.inc(count);
    }

    /// Notes that `count` bytes are done in all.
    pub fn set(&self, count: u64) {
        self.0.set_position(count);
    }

    /// Prints something while the bar is out of the way, at the beginning of a line.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        if !self.is_shown() {
            return print();
        }
        self.0.suspend(|| {
            begin_line();
            print()
        })
    }

    /// Takes the bar away: what it shows is complete.
    pub fn clear(&self) {
        if self.is_shown() {
            self.0.finish_and_clear();
            begin_line();
        }
    }

    fn is_shown(&self) -> bool {
        !self.0.is_hidden() && !self.0.is_finished()
    }
}

/// Where a terminal's output is read by a script, the codes that took the bar away must not stand before a status line.
fn begin_line() {
    // Where that cannot be written, there is no bar either.
    let _ = std::io::stderr().write_all(NEW_LINE_IN_PLACE);
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
