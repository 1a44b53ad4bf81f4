//! Streams, threads, memory and signals.
