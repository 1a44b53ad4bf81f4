//! Bytes of a disk that follow each other, on their way past.

#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// So many zeros, which are nowhere in memory.
    Zeros(u64),
    Data(&'a [u8]),
}

impl Piece<'_> {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Zeros(length) => *length,
            Self::Data(bytes) => bytes.len() as u64,
        }
    }

    /// The first `length` bytes, fewer if there are no more, and the rest.
    pub(super) fn split(self, length: u64) -> (Self, Self) {
        let length = length.min(self.length());
        match self {
            Self::Zeros(all) => (Self::Zeros(length), Self::Zeros(all - length)),
            Self::Data(bytes) => {
                let (front, rest) = bytes.split_at(length as usize);
                (Self::Data(front), Self::Data(rest))
            }
        }
    }

    /// Adds the bytes to those in memory.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Zeros(length) => bytes.resize(bytes.len() + *length as usize, 0),
            Self::Data(data) => bytes.extend_from_slice(data),
        }
    }
}
