//! Learning on frozen features: the objective, its training step on both engines, schedules and
//! closed-form heads.

pub mod closed_form;
pub mod cpu;
pub mod engine;
pub mod engine_choice;
pub mod gpu;
pub mod inference;
mod loaded;
pub mod objective;
pub mod op;
pub mod program;
pub mod schedule;
pub mod step;
pub mod trainer;
pub mod update;
