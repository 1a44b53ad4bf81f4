//! Snapshots are written and read through the double of EBS.

mod fetching;
mod hostile;
mod pace;
mod resuming;
mod rig;
mod writing;
