//! What the learner said of each task while it learned.

/// Curves of each task, by task.
#[derive(Default)]
pub(crate) struct TaskCurves {
    /// Total loss by step.
    pub(crate) losses: Vec<Vec<(f64, f64)>>,
    /// Held-out accuracy by the seconds of learning: of the closed forms that answer at once, and
    /// of the head that was chosen in the end.
    pub(crate) accuracies: Vec<Vec<(f64, f64)>>,
}

impl TaskCurves {
    pub(crate) fn begin_task(&mut self) {
        self.losses.push(Vec::new());
        self.accuracies.push(Vec::new());
    }

    pub(crate) fn add_loss(&mut self, step: usize, total: f64) {
        if let Some(curve) = self.losses.last_mut() {
            #[allow(clippy::cast_precision_loss, reason = "a count of steps")]
            curve.push((step as f64, total));
        }
    }

    pub(crate) fn add_accuracy(&mut self, learning_secs: f64, accuracy: f64) {
        if let Some(curve) = self.accuracies.last_mut() {
            curve.push((learning_secs, accuracy));
        }
    }
}
