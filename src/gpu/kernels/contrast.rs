//! Kernels of the `contrast` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
