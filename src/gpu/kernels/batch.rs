//! Kernels of the `batch` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
