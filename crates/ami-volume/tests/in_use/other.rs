//! This program once more: as the one that is killed, and as one that writes to a volume meanwhile.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ami_volume::{Event, Freeze, InUse};

use crate::rig::{image_of, request, shell};

/// Does what the first word says, if it names something.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let [what, first, second] = arguments else {
        return None;
    };
    let path = Path::new(first);
    match what.to_str()? {
        "freeze" => Some(freeze_and_wait(path, second)),
        "copy" => Some(copy_and_wait(path, Path::new(second))),
        "numbers" => Some(write_numbers(path, Path::new(second))),
        "names" => Some(change_names(path, Path::new(second))),
        _ => None,
    }
}

/// What the program that is killed does: it freezes a volume, says so, waits for a word, thaws and says what came of it.
fn freeze_and_wait(volume: &Path, limit: &OsString) -> ExitCode {
    let limit = Duration::from_millis(limit.to_str().unwrap().parse().unwrap());
    let freeze = Freeze::new(&[volume.to_owned()], &[], limit, &AtomicBool::new(false));
    println!(
        "{:?}",
        freeze.as_ref().map(|_| ()).map_err(ToString::to_string)
    );
    let _ = std::io::stdin().read_line(&mut String::new()).unwrap();
    println!(
        "{:?}",
        freeze.unwrap().thaw().map_err(|error| error.to_string())
    );
    ExitCode::SUCCESS
}

/// The other one: it copies a btrfs volume and says when there are snapshots; then it waits.
fn copy_and_wait(volume: &Path, destination: &Path) -> ExitCode {
    let in_use = InUse {
        snapshots: true,
        after: Some(format!("touch '{}/after'", destination.display()).into()),
        ..InUse::default()
    };
    let event = |event: Event<'_>| {
        if let Event::Snapshots(count) = event {
            println!("{count}");
            let _ = std::io::stdin().read_line(&mut String::new()).unwrap();
        }
    };
    let _ = image_of(request(volume, destination, in_use), &event, &|_, _| {}).unwrap();
    ExitCode::SUCCESS
}

/// Writes numbers to two files in turn, as fast as it can, until it is killed: a number is in the second only after it is in the first.
fn write_numbers(first: &Path, second: &Path) -> ExitCode {
    let [mut first, mut second] = [first, second].map(|path| File::create(path).unwrap());
    for number in 0_u32.. {
        for file in [&mut first, &mut second] {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        if number == 1000 {
            println!("begun");
        }
    }
    ExitCode::SUCCESS
}

/// The same with names: each folder has one file, whose name is a number.
fn change_names(first: &Path, second: &Path) -> ExitCode {
    for folder in [first, second] {
        fs::create_dir(folder).unwrap();
        let _ = File::create(folder.join("0")).unwrap();
    }
    for number in 0_u32.. {
        for folder in [first, second] {
            let [old, new] = [number, number + 1].map(|number| folder.join(number.to_string()));
            fs::rename(old, new).unwrap();
        }
        if number == 1000 {
            println!("begun");
        }
    }
    ExitCode::SUCCESS
}

/// This program once more, with what it says.
pub struct Other {
    pub child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The process that it has started to keep its promise of that kind.
    pub fn keepers(&self, word: &str) -> Vec<i32> {
        let id = self.child.id();
        let found = shell(&format!(
            "pgrep -P {id} -f -- '--keep-promise-of {id} {word}' || true"
        ));
        found.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub fn signal(&self, name: &str) {
        let _ = shell(&format!("kill -{name} {}", self.child.id()));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process does `what` to both while `act` runs.
pub fn while_writing<T>(what: &str, first: &Path, second: &Path, act: impl FnOnce() -> T) -> T {
    let words = [first, second].map(|path| path.to_str().unwrap());
    let mut writer = Other::start(&[what, words[0], words[1]]);
    assert_eq!(writer.line(), "begun");
    act()
}
