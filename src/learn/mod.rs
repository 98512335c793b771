//! Learning on frozen features: the objective, its training step on both engines, schedules and
//! closed-form heads.

pub(crate) mod closed_form;
#[cfg(feature = "tract")]
pub(crate) mod cost;
pub(crate) mod cpu;
pub(crate) mod engine;
pub(crate) mod engine_choice;
pub(crate) mod gpu;
pub mod inference;
mod loaded;
pub(crate) mod objective;
pub(crate) mod op;
mod placement;
pub(crate) mod program;
pub(crate) mod schedule;
pub(crate) mod step;
pub(crate) mod trainer;
pub(crate) mod update;
