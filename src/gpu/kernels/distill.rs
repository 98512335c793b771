//! Kernels of the `distill` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
