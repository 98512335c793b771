//! What learns: closed-form heads and the metrics of continual learning.

pub mod closed_form;
pub mod metrics;
