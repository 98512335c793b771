//! Definitions of the `contrast` family.
