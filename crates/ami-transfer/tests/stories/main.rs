//! The stories, with a local server and an observer in memory: which events they send and in which order, what they ask, and that the
//! observer or the caller can end them.

mod bundles;
mod migrations;
mod scene;
mod transfers;
