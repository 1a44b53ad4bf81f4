//! Buffers that are used again.
//!
//! Memory of megabytes comes from the kernel page by page, zeroed, and goes back to it: for each buffer anew, that takes a tenth of
//! the time of inflating.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// The largest buffer that is kept, in bytes: what chunks of ours need. Larger ones are rare and go back to the system.
const LARGEST_KEPT: usize = 2560 * 1024;

/// Where buffers of one kind wait to be used again: as many as have been in use at the same time.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// An empty buffer.
    pub(crate) fn empty(&self) -> Buffer {
        let mut bytes = self.take();
        bytes.clear();
        self.lend(bytes)
    }

    /// A buffer of this many bytes, which are whatever they are.
    pub(crate) fn filled(&self, length: usize) -> Buffer {
        let mut bytes = self.take();
        bytes.resize(length, 0);
        self.lend(bytes)
    }

    fn lend(&self, bytes: Vec<u8>) -> Buffer {
        Buffer {
            bytes,
            home: self.clone(),
        }
    }
}

/// A vector of bytes that goes back to its [`Buffers`].
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() <= LARGEST_KEPT {
            self.home.0.lock().push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Buffers::default().lend(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_a_large_one_is_not() {
        let buffers = Buffers::default();
        let mut first = buffers.filled(1000);
        first.fill(7);
        let place = first.as_ptr();
        let second = buffers.empty();
        drop(first);
        let again = buffers.filled(1000);
        assert_eq!((again.as_ptr(), again.len()), (place, 1000));
        drop((second, again));
        assert_eq!(buffers.0.lock().len(), 2);
        drop(buffers.filled(LARGEST_KEPT + 1));
        assert_eq!(buffers.0.lock().len(), 1);
    }

    #[test]
    fn an_empty_buffer_is_empty() {
        let buffers = Buffers::default();
        drop(buffers.filled(1000));
        assert!(buffers.empty().is_empty());
    }
}
