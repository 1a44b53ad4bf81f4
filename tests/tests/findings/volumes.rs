//! Volumes whose owners want to harm whoever images them.
