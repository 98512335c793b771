//! Who runs the tail that answers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::backbone::{BackboneOptions, Provider, TailSession};
use crate::export::tail_alone;
use crate::heads::{MapShape, Tail};
use crate::learn::inference;

/// Runs tails on latents: in ONNX Runtime where the trunk runs there, on the CPU engine beside
/// tract. `kaizen doctor` times both.
pub(super) struct TailRunner {
    /// What the trunk was loaded with; the provider is the one that runs it.
    options: BackboneOptions,
    /// The session of the tail that answered last; none if the runtime refuses it.
    last: Mutex<Option<Loaded>>,
}

struct Loaded {
    tail: Arc<Tail>,
    session: Option<TailSession>,
}

impl TailRunner {
    /// A runner beside a trunk on the provider of `options`.
    pub(super) fn new(options: BackboneOptions) -> Self {
        Self { options, last: Mutex::new(None) }
    }

    /// Features `[D]` of a latent by `tail`. A tail that did not answer last is loaded first, which
    /// takes about 50 ms in ONNX Runtime.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a latent of another shape; [`crate::Error::Provider`] if the
    /// runtime fails.
    pub(super) fn features(&self, tail: &Arc<Tail>, latent: &[f32]) -> Result<Vec<f32>> {
        if self.options.provider == Provider::Tract || latent.len() != tail.extractor.input_len() {
            return inference::extract(&tail.extractor, &tail.parameters, latent);
        }
        self.in_runtime(tail, latent)
    }

    fn in_runtime(&self, tail: &Arc<Tail>, latent: &[f32]) -> Result<Vec<f32>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match last.take() {
            Some(loaded) if Arc::ptr_eq(&loaded.tail, tail) => loaded,
            Some(_) | None => Loaded { tail: tail.clone(), session: self.load(tail)? },
        };
        match &mut last.insert(loaded).session {
            Some(session) => {
                let MapShape { size: [rows, columns], channels } = tail.extractor.input;
                session.run(&[1, rows, columns, channels], latent)
            }
            None => inference::extract(&tail.extractor, &tail.parameters, latent),
        }
    }

    /// A session of the tail; none if the runtime refuses it, which is said.
    fn load(&self, tail: &Tail) -> Result<Option<TailSession>> {
        let session = TailSession::load(&tail_alone(tail)?, &self.options);
        let refused = |error: &crate::Error| tracing::warn!("the CPU engine runs the tail instead: {error}");
        Ok(session.inspect_err(refused).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_runtime_of_the_trunk_runs_the_tail_that_is_asked_for_as_the_engine_does() {
        let runner =
            |beside| TailRunner::new(BackboneOptions { provider: beside, ..BackboneOptions::default() });
        let (in_runtime, on_engine) = (runner(Provider::Cpu), runner(Provider::Tract));
        let tails = [1, 2].map(|seed| Arc::new(Tail::example(seed)));
        let latent: Vec<f32> =
            (0..tails[0].extractor.input_len()).map(|at| (at as f32 * 0.7).sin()).collect();
        let [first, second] = tails.each_ref().map(|tail| on_engine.features(tail, &latent).unwrap());
        let apart =
            |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        // The control: another tail's features are others.
        assert!(apart(&first, &second) > 0.1, "{first:?} {second:?}");
        for (tail, want) in
            [(&tails[0], &first), (&tails[1], &second), (&tails[1], &second), (&tails[0], &first)]
        {
            let got = in_runtime.features(tail, &latent).unwrap();
            assert!(got.len() == want.len() && apart(&got, want) < 1e-5, "{got:?} {want:?}");
        }
        let runs_there = in_runtime.last.lock().unwrap().as_ref().unwrap().session.is_some();
        let has_library = crate::backbone::find_onnx_runtime(None).is_ok();
        assert_eq!(runs_there, has_library);
        assert!(in_runtime.features(&tails[0], &latent[1..]).is_err());
    }
}
