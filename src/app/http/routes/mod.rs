//! Handlers by what they are about.

pub(super) mod backup;
mod class_name;
pub(super) mod heads;
pub(super) mod status;
pub(super) mod teach;
pub(super) mod unknowns;
