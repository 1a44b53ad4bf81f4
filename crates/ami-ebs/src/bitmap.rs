//! A bit for each block: the only memory that grows with a volume, 16 MiB for the largest.

/// Blocks of a volume.
#[derive(Debug, Default)]
pub(crate) struct Bitmap(Vec<u64>);

impl Bitmap {
    /// None of so many blocks.
    pub(crate) fn new(blocks: u64) -> Self {
        let words = usize::try_from(blocks.div_ceil(64)).unwrap_or(0);
        Self(vec![0; words])
    }

    pub(crate) fn has(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64)
            .ok()
            .and_then(|word| self.0.get(word));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, index: u64, has: bool) {
        let word = usize::try_from(index / 64)
            .ok()
            .and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            let bit = 1 << (index % 64);
            *word = if has { *word | bit } else { *word & !bit };
        }
    }

    /// The first block that is in it.
    pub(crate) fn first(&self) -> Option<u64> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word as u64 * 64 + u64::from(self.0[word].trailing_zeros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_and_go() {
        let mut blocks = Bitmap::new(130);
        assert_eq!(blocks.first(), None);
        for index in [129, 64, 0] {
            blocks.set(index, true);
        }
        assert!(blocks.has(64) && !blocks.has(63) && !blocks.has(100_000));
        blocks.set(0, false);
        assert_eq!(blocks.first(), Some(64));
        blocks.set(100_000, true);
        assert!(!blocks.has(100_000), "there is no such block");
    }
}
