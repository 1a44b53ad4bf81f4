//! Memory of blocks that is used again: new pages cost as much time as hashing a fifth of a block does.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::block::BLOCK;

/// Buffers that are free at present; cheap to clone. There are never more than there were blocks at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A buffer of one block. What is in it has no meaning.
    pub(crate) fn take(&self) -> Buffer {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            data: free.unwrap_or_else(|| vec![0; BLOCK]),
            home: self.clone(),
        }
    }
}

/// A block's bytes, whose memory goes back when they are dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    /// The bytes, to be sent without a copy.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.as_mut()[5] = 7;
        let bytes = first.into_bytes();
        let copy = bytes.clone();
        assert_eq!((bytes.len(), bytes[5]), (BLOCK, 7));
        drop(bytes);
        assert_eq!(
            buffers.take().as_ref()[5],
            0,
            "one that is in use is not given"
        );
        let address = copy.as_ptr();
        drop(copy);
        assert_eq!(buffers.take().as_ref().as_ptr(), address);
    }
}
