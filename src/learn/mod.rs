//! Learning on frozen features: the objective, its training step on both engines, schedules, closed-form heads and
//! the metrics of continual learning.

pub mod cpu;
pub mod engine;
pub mod objective;
pub mod program;
pub mod step;
pub mod update;
