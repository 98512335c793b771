//! Kernels of the `optim` family.

/// Sources of the family.
pub const SOURCES: &[(&str, &str)] = &[];
