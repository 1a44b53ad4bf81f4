//! ami-cli
