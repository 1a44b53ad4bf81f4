//! ami-manifest
