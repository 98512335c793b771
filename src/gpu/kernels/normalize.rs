//! Kernels of the `normalize` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
