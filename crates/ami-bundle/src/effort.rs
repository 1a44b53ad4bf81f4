//! How much work it takes to inflate a stream: the number of bytes searched, copied or inflated.
//!
//! Counted only in tests, which must not measure time.

#[cfg(test)]
thread_local! {
    static SPENT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Adds to the work done on this thread.
#[inline]
pub(crate) fn count(bytes: usize) {
    #[cfg(test)]
    SPENT.set(SPENT.get() + bytes as u64);
    #[cfg(not(test))]
    let _ = bytes;
}

/// Returns the work done on this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    SPENT.take()
}
