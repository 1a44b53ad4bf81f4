//! Files with several names: which name was met first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

/// What is remembered of each file until all its names have been met.
#[derive(Debug)]
pub(crate) struct Links<T>(Mutex<HashMap<(u64, u64), Met<T>>>);

#[derive(Debug)]
struct Met<T> {
    first: T,
    /// Names that have not been met.
    left: u64,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Links<T> {
    /// Calls `first` for the name of a file that is met first, and `again` with what that gave for each other one.
    pub(crate) fn meet<R, E>(
        &self,
        stat: &Stat,
        first: impl FnOnce() -> Result<(T, R), E>,
        again: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match links.entry((stat.st_dev, stat.st_ino)) {
            Entry::Vacant(entry) => {
                let (remembered, result) = first()?;
                // A u32 on other architectures.
                #[allow(clippy::useless_conversion)]
                let left = u64::from(stat.st_nlink) - 1;
                let _ = entry.insert(Met {
                    first: remembered,
                    left,
                });
                Ok(result)
            }
            Entry::Occupied(mut entry) => {
                let met = entry.get_mut();
                let result = again(&met.first)?;
                met.left = met.left.saturating_sub(1);
                if met.left == 0 {
                    let _ = entry.remove();
                }
                Ok(result)
            }
        }
    }
}
