//! Definitions of the `optim` family.
