//! Update rules and their constants.

use serde::{Deserialize, Serialize};

use crate::heads::{Architecture, Extractor, NodeOp};
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

/// Which parameters of the extractor train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trains {
    /// All of them.
    #[default]
    All,
    /// Biases, and the gains of layer norms: few parameters for few labels (arXiv 2007.11622).
    BiasesAndGains,
    /// Those of the last nodes.
    LastNodes(usize),
}

/// What of the extractor trains, and at which rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtractorTraining {
    /// Which parameters train.
    pub trains: Trains,
    /// Factor of the learning rate from each node to the one before it, above 0 and up to 1
    /// (layer-wise decay, arXiv 1801.06146).
    pub rate_decay: f64,
}

impl Default for ExtractorTraining {
    fn default() -> Self {
        Self { trains: Trains::All, rate_decay: 1.0 }
    }
}

impl ExtractorTraining {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting.
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        if !(self.rate_decay > 0.0 && self.rate_decay <= 1.0) {
            return Err(Error::config("rate_decay", self.rate_decay, "above 0 and up to 1"));
        }
        let nodes = architecture.extractor.nodes.len();
        match self.trains {
            Trains::LastNodes(last) if last > nodes => Err(Error::config(
                "trains",
                last,
                format!("at most {nodes} last nodes, all of the extractor"),
            )),
            Trains::All | Trains::BiasesAndGains | Trains::LastNodes(_) => Ok(()),
        }
    }

    /// Whether weight and bias of a node train.
    pub(super) fn of_node(&self, extractor: &Extractor, node: usize) -> [bool; 2] {
        let (op, nodes) = (extractor.nodes[node].op, extractor.nodes.len());
        let has_parameters = match op {
            NodeOp::Linear { .. } | NodeOp::Depthwise { .. } | NodeOp::LayerNorm => true,
            NodeOp::AveragePool | NodeOp::Identity => false,
        };
        let trains = match self.trains {
            Trains::All => [true, true],
            Trains::BiasesAndGains => [op == NodeOp::LayerNorm, true],
            Trains::LastNodes(last) => [node + last >= nodes; 2],
        };
        trains.map(|trains| trains && has_parameters)
    }

    /// Factor of the learning rate of the parameter of that name; 1 for one that is not the
    /// extractor's.
    pub(super) fn rate_of(&self, extractor: &Extractor, parameter: &str) -> f64 {
        let stem = parameter.rsplit_once('.').map_or(parameter, |(stem, _)| stem);
        let behind = extractor.nodes.iter().rev().position(|node| node.name == stem);
        behind.map_or(1.0, |behind| self.rate_decay.powi(i32::try_from(behind).unwrap_or(i32::MAX)))
    }
}
