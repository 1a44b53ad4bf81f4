//! Snapshots are written and read through the double of EBS.

mod fetching;
mod hostile;
mod passing;
mod resuming;
mod rig;
mod writing;
