//! Definitions of the `classify` family.
