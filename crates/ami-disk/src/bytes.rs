//! Numbers in structures on disk. What lies behind the end of the bytes reads as zeros, so no structure makes a reader panic.

/// The bytes from `at` on.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().zip(rest) {
        *place = *byte;
    }
    array
}

/// Little-endian numbers: ext, btrfs, FAT, partition tables.
pub(crate) mod le {
    use super::array;

    pub(crate) fn u16(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(array(bytes, at))
    }

    pub(crate) fn u32(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(array(bytes, at))
    }

    pub(crate) fn u64(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(array(bytes, at))
    }
}

/// Big-endian numbers: xfs.
pub(crate) mod be {
    use super::array;

    pub(crate) fn u16(bytes: &[u8], at: usize) -> u16 {
        u16::from_be_bytes(array(bytes, at))
    }

    pub(crate) fn u32(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(array(bytes, at))
    }

    pub(crate) fn u64(bytes: &[u8], at: usize) -> u64 {
        u64::from_be_bytes(array(bytes, at))
    }
}
