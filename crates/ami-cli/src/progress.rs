//! A progress bar on a terminal; nothing anywhere else.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of bytes. It goes away when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar up to `total` bytes, if standard error is a terminal.
    pub fn bytes(total: u64) -> Self {
        let target = if std::io::stderr().is_terminal() {
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
    pub fn files(total: u64, files: u64) -> Self {
        let progress = Self::bytes(total);
        let template = format!(
            "{{bar:30}} {{percent:>3}}%  {{msg}} of {files} files  {{bytes}} of {{total_bytes}}  {{bytes_per_sec}}  {{eta}} left"
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

    /// Prints something while the bar is out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Takes the bar away: what it shows is complete.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
