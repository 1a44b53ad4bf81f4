//! The stories themselves, against a server and an observer in memory: what is told and in which order, what is asked, and that a story
//! ends where its observer or its caller ends it.

mod migrations;
mod scene;
mod transfers;
