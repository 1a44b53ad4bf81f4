//! Regression tests for attacks and faults that once succeeded, one for each finding. Each is named after the finding's number in its module.

mod lines;
mod names;
mod no_files;
mod pipeline;
mod publishing;
mod terminal;
mod transfers;
mod volumes;
