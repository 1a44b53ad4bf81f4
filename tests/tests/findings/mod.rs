//! What attacks and faults have broken once, a test a finding; each is named after the number that the finding has in its module.

mod lines;
mod names;
mod no_files;
mod pipeline;
mod publishing;
mod terminal;
mod transfers;
mod volumes;
