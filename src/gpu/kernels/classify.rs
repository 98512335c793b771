//! Kernels of the `classify` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
