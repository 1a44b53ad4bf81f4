//! Buffers that are used again.
//!
//! Memory of megabytes comes from the kernel page by page, zeroed, and goes back to it: for each buffer anew, that takes a tenth of
//! the time of inflating, or a fifth of that of hashing.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The largest buffer that is kept, in bytes: what a bundle's chunk needs, compressed or not. Larger ones are rare and go back to the system.
const LARGEST_KEPT: usize = 2560 * 1024;

/// Where buffers of one kind wait to be used again, as many as have been in use at the same time; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn waiting(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        self.waiting().pop().unwrap_or_default()
    }

    /// An empty buffer.
    pub fn empty(&self) -> Buffer {
        let mut bytes = self.take();
        bytes.clear();
        self.lend(bytes)
    }

    /// A buffer of this many bytes, which are whatever they are.
    pub fn filled(&self, length: usize) -> Buffer {
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
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() <= LARGEST_KEPT {
            self.home.waiting().push(std::mem::take(&mut self.bytes));
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

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A buffer that nobody waits for.
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
        assert_eq!(buffers.waiting().len(), 2);
        drop(buffers.filled(LARGEST_KEPT + 1));
        assert_eq!(buffers.waiting().len(), 1);
    }

    #[test]
    fn an_empty_buffer_is_empty() {
        let buffers = Buffers::default();
        drop(buffers.filled(1000));
        assert!(buffers.empty().is_empty());
    }

    #[test]
    fn memory_comes_back_from_bytes() {
        const BLOCK: usize = 512 * 1024;
        let buffers = Buffers::default();
        let mut first = buffers.filled(BLOCK);
        first[5] = 7;
        let bytes = bytes::Bytes::from_owner(first);
        let copy = bytes.clone();
        assert_eq!((bytes.len(), bytes[5]), (BLOCK, 7));
        drop(bytes);
        assert_eq!(
            buffers.filled(BLOCK)[5],
            0,
            "one that is in use is not given"
        );
        let address = copy.as_ptr();
        drop(copy);
        assert_eq!(buffers.filled(BLOCK).as_ptr(), address);
    }
}
