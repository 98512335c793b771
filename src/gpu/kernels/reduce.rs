//! Kernels of the `reduce` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
