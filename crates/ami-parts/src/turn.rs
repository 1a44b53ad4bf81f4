//! The turn: only the run that has it may change the names in a destination.
//!
//! A lock on the destination itself would not do: anyone who can open the folder could take it and never release it. Instead, a run that
//! wants the turn makes a folder `turn` in its private folder. The run that has the turn holds the locks of all these folders, including
//! its own. Private folders have mode 0700 and random names, so nobody else can open or predict one. Runs of different users do not wait
//! for each other.
//!
//! Two runs cannot have the turn at once: each made its `turn` before it looked for those of the others, so the later one has seen that of
//! the earlier one. The folders are locked in the order of their names, and no run waits while it holds one; so of several runs that try
//! at the same time, one succeeds.

use std::io;

use crate::asking::lock;
use crate::error::Error;
use crate::folder::Folder;
use crate::private::{Private, open_ours};

/// The folder in a private folder that stands for its run.
pub(crate) const TURN: &str = "turn";

/// How often the other runs are looked up again before the caller pauses.
const LOOKS: usize = 10;

/// The right to change names in a destination, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<F> {
    _held: Vec<Held<F>>,
}

/// A run that has, or wants, the turn: the name of its private folder, and its `turn`.
#[derive(Debug)]
struct Held<F> {
    name: String,
    turn: F,
}

/// Takes the turn. `wait` is called while another run has it; an error from `wait` ends the attempt.
pub(crate) fn take_turn<F: Folder>(
    private: &Private<F>,
    mut wait: impl FnMut() -> Result<(), Error>,
) -> Result<Turn<F>, Error> {
    loop {
        if let Some(turn) = try_turn(private)? {
            return Ok(turn);
        }
        wait()?;
    }
}

/// Takes the turn if no other run has it.
pub(crate) fn try_turn<F: Folder>(private: &Private<F>) -> Result<Option<Turn<F>>, Error> {
    private.is_there()?;
    match private.folder.make(TURN) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", &private.folder.path().join(TURN))(e));
        }
        _ => {}
    }
    for _ in 0..LOOKS {
        let held = all(private)?;
        for other in &held {
            if !lock(&other.turn)? {
                return Ok(None);
            }
        }
        // A run that came since is not locked yet; one that left has released its lock.
        let now = all(private)?;
        let names = |runs: &[Held<F>]| runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>();
        if names(&held) == names(&now) && names(&now).contains(&private.name) {
            return Ok(Some(Turn { _held: held }));
        }
    }
    Ok(None)
}

/// All runs that have or want the turn, in the order of their names.
fn all<F: Folder>(private: &Private<F>) -> Result<Vec<Held<F>>, Error> {
    let mut found = Vec::new();
    for name in private.names()? {
        let Some(folder) = private.open(&name)? else {
            continue;
        };
        // A run without this folder does not want the turn.
        let turn = open_ours(&folder, TURN, private.access);
        if let Some(turn) = turn.map_err(Error::io("open", &folder.path().join(TURN)))? {
            found.push(Held { name, turn });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
