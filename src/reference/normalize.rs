//! Definitions of the `normalize` family.
