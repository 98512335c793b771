//! Definitions of the `reduce` family.
