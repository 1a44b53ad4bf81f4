//! What this crate promises of manifests, as one program.

mod contents;
mod golden;
mod hostile;
mod variants;
