//! How files appear and disappear in a destination that others use too.
