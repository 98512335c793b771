//! Beginnings of the names of parameters.

/// Prefix of the names of an adapter's parameters.
pub(crate) const ADAPTER: &str = "adapter.";
/// Prefix of the names of a tail's parameters.
pub(crate) const TAIL: &str = "tail.";
