//! Definitions of the `distill` family.
