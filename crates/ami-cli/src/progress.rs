//! A progress bar on a terminal. There is none elsewhere, and none with `--batch`, because a script may give a command a terminal
//! (`ssh -tt`) and still read its status lines.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::context::Context;
use crate::print::counted;

/// Up a line and down again: stays in place on the screen, but begins a new line in the output.
const NEW_LINE_IN_PLACE: &[u8] = b"\x1b[A\n";

/// A bar of bytes, which is removed when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar up to `total` bytes, if standard error is a terminal and `--batch` was not given.
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

    /// A bar up to `total` bytes in `files` files.
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

    /// Sets the number of files that are done.
    pub fn set_files(&self, done: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(done.to_string());
        }
    }

    /// Adds `count` bytes.
    pub fn add(&self, count: u64) {
        self.0.inc(count);
    }

    /// Sets the number of bytes that are done.
    pub fn set(&self, count: u64) {
        self.0.set_position(count);
    }

    /// Hides the bar while `print` prints, at the beginning of a line.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        if !self.is_shown() {
            return print();
        }
        self.0.suspend(|| {
            begin_line();
            print()
        })
    }

    /// Removes the bar.
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

/// Begins a new line, so that for a script that reads a terminal's output, no status line begins with the codes that removed the bar.
fn begin_line() {
    // If this fails, there is no bar either.
    let _ = std::io::stderr().write_all(NEW_LINE_IN_PLACE);
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
