//! Learning on frozen features: the objective, its training step on both engines, schedules, closed-form heads and
//! the metrics of continual learning.

pub mod closed_form;
pub mod cpu;
pub mod engine;
pub mod gpu;
pub mod inference;
pub mod objective;
pub mod program;
pub mod schedule;
pub mod step;
pub mod trainer;
pub mod update;
