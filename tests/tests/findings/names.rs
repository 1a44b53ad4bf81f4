//! Names that a hostile manifest or bundle brings, and files that are no files.
