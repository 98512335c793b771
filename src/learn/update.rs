//! Update rules and their constants.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Optimizer {
    /// SGD with momentum; weight decay on everything but the classifier.
    Sgd {
        /// Momentum factor.
        momentum: f64,
        /// L2 decay added to the gradient.
        weight_decay: f64,
    },
    /// Layer-wise adaptive rates over SGD, clipped, 1-D tensors excluded, as the paper's code uses
    /// it.
    Lars {
        /// Momentum factor.
        momentum: f64,
        /// Decay inside the trust ratio.
        weight_decay: f64,
        /// Trust coefficient eta.
        trust: f64,
    },
    /// Adam with decoupled decay.
    AdamW {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
        /// Decoupled decay.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The paper's scripts: LARS, trust 0.02, momentum 0.9, decay 1e-5.
    pub const AS_PUBLISHED: Self = Self::Lars { momentum: 0.9, weight_decay: 1e-5, trust: 0.02 };
    /// AdamW with PyTorch's constants.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    /// SGD with momentum 0.9 and decay 1e-5.
    pub const SGD: Self = Self::Sgd { momentum: 0.9, weight_decay: 1e-5 };

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the constant.
    pub fn check(&self) -> Result<()> {
        let (rates, decay) = match *self {
            Self::Sgd { momentum, weight_decay } => {
                ([("momentum", momentum), ("momentum", momentum)], weight_decay)
            }
            Self::Lars { momentum, weight_decay, trust } => {
                ([("momentum", momentum), ("trust", trust)], weight_decay)
            }
            Self::AdamW { beta1, beta2, weight_decay, .. } => {
                ([("beta1", beta1), ("beta2", beta2)], weight_decay)
            }
        };
        for (name, value) in rates {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(name, value, "at least 0 and below 1"));
            }
        }
        if decay.is_finite() && decay >= 0.0 {
            Ok(())
        } else {
            Err(Error::config("weight_decay", decay, "at least 0"))
        }
    }
}
