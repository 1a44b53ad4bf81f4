//! What is kept of a disk that has gone by, in bounded memory.

/// The most that is kept at a time, in bytes, with what is needed to find it. The log of an xfs of 1 TiB, which has 512 MiB, takes two
/// thirds of it; all other metadata of usual file systems take less.
pub(super) const MOST: usize = 64 << 20;

/// Bytes that follow each other.
#[derive(Debug)]
struct Run {
    /// On the disk.
    offset: u64,
    length: u64,
    /// Where in [`Kept::bytes`]; zeros are not there.
    place: Option<u32>,
}

/// Runs of the disk, in ascending order.
#[derive(Debug, Default)]
pub(super) struct Kept {
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

impl Kept {
    /// Adds what lies behind everything that was added before. `false` if there is no room for it.
    pub(super) fn add(&mut self, offset: u64, bytes: &[u8]) -> bool {
        if bytes.iter().all(|&byte| byte == 0) {
            return self.add_zeros(offset, bytes.len() as u64);
        }
        // There are at most as many as `MOST` and a sector.
        let place = self.bytes.len() as u32;
        let length = bytes.len() as u64;
        match self.runs.last_mut() {
            Some(run) if run.place.is_some() && run.offset + run.length == offset => {
                run.length += length;
            }
            _ => self.runs.push(Run {
                offset,
                length,
                place: Some(place),
            }),
        }
        self.bytes.extend_from_slice(bytes);
        self.has_room()
    }

    /// Adds zeros, which take no more room however many they are.
    pub(super) fn add_zeros(&mut self, offset: u64, length: u64) -> bool {
        match self.runs.last_mut() {
            Some(run) if run.place.is_none() && run.offset + run.length == offset => {
                run.length += length;
            }
            _ => self.runs.push(Run {
                offset,
                length,
                place: None,
            }),
        }
        self.has_room()
    }

    fn has_room(&self) -> bool {
        self.bytes.len() + self.runs.len() * size_of::<Run>() <= MOST
    }

    /// Fills the buffer from the byte `offset` of the disk on; `false` if not all of it was kept.
    pub(super) fn read(&self, mut offset: u64, mut buffer: &mut [u8]) -> bool {
        let mut next = self
            .runs
            .partition_point(|run| run.offset + run.length <= offset);
        while !buffer.is_empty() {
            let Some(run) = self.runs.get(next).filter(|run| run.offset <= offset) else {
                return false;
            };
            let inside = offset - run.offset;
            let length = (run.length - inside).min(buffer.len() as u64);
            let (front, rest) = buffer.split_at_mut(length as usize);
            match run.place {
                Some(place) => {
                    let start = place as usize + inside as usize;
                    front.copy_from_slice(&self.bytes[start..start + front.len()]);
                }
                None => front.fill(0),
            }
            buffer = rest;
            offset += length;
            next += 1;
        }
        true
    }

    /// Forgets the runs that end before that byte of the disk.
    pub(super) fn forget_before(&mut self, offset: u64) {
        let count = self
            .runs
            .partition_point(|run| run.offset + run.length <= offset);
        if count == 0 {
            return;
        }
        let _ = self.runs.drain(..count);
        let first = self.runs.iter().find_map(|run| run.place);
        let gone = first.unwrap_or(self.bytes.len() as u32);
        let _ = self.bytes.drain(..gone as usize);
        for run in &mut self.runs {
            run.place = run.place.map(|place| place - gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_nothing_else() {
        let mut kept = Kept::default();
        assert!(kept.add(10, b"abc"));
        assert!(kept.add(13, b"def"));
        assert!(kept.add_zeros(16, 1 << 40));
        assert!(kept.add(16 + (1 << 40), &[0, 0]));
        assert!(kept.add(18 + (1 << 40), b"xyz"));
        assert!(kept.add(100 + (1 << 40), b"end"));
        let read = |kept: &Kept, offset, length| {
            let mut buffer = vec![7; length];
            kept.read(offset, &mut buffer).then_some(buffer)
        };
        assert_eq!(read(&kept, 11, 6), Some(b"bcdef\0".to_vec()));
        assert_eq!(read(&kept, 17 + (1 << 40), 4), Some(b"\0xyz".to_vec()));
        assert_eq!(read(&kept, 9, 2), None);
        assert_eq!(read(&kept, 19 + (1 << 40), 3), None);
        assert_eq!(read(&kept, 102 + (1 << 40), 2), None);
        kept.forget_before(16);
        assert_eq!(read(&kept, 15, 1), None);
        assert_eq!(read(&kept, 16 + (1 << 40), 5), Some(b"\0\0xyz".to_vec()));
        kept.forget_before(50 + (1 << 40));
        assert_eq!(read(&kept, 100 + (1 << 40), 3), Some(b"end".to_vec()));
        assert_eq!((kept.runs.len(), kept.bytes.as_slice()), (1, &b"end"[..]));
    }

    #[test]
    fn there_is_room_for_so_much_and_what_finds_it_counts() {
        let mut kept = Kept::default();
        let each = MOST / (size_of::<Run>() + 16);
        for index in 0..each as u64 {
            assert!(kept.add(index * 512, &[1; 16]));
        }
        assert!(!kept.add(each as u64 * 512, &[1; 64]));
    }
}
