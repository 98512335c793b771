//! Handlers by what they are about.

mod class_name;
pub(super) mod heads;
pub(super) mod status;
pub(super) mod teach;
pub(super) mod unknowns;
