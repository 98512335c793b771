//! Definitions of the `batch` family.
