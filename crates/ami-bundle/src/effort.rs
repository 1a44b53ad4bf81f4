//! How much work it is to inflate a stream, in bytes that are looked at, copied or inflated.
//!
//! It is counted in tests alone, which must not look at the clock.

#[cfg(test)]
thread_local! {
    static SPENT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts some work.
#[inline]
pub(crate) fn count(bytes: usize) {
    #[cfg(test)]
    SPENT.set(SPENT.get() + bytes as u64);
    #[cfg(not(test))]
    let _ = bytes;
}

/// What this thread has counted since the last time.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    SPENT.take()
}
