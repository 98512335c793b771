//! From features to probabilities, written in ONNX operators.

use super::extractor::{self, layer_norm, tensor};
use super::nodes::Nodes;
use crate::heads::{Architecture, Layer, Parameters};
use crate::learn::closed_form::{
    ClassCovariances, EnsembleHead, FeatureTransform, LinearHead, Mahalanobis, SHARED,
};
use crate::reference::normalize::BATCH_NORM_EPS;
use crate::{Error, Result};

/// The names of the outputs, in order.
pub(crate) const OUTPUTS: [&str; 3] = ["probabilities", "logits", "novelty"];

/// The part that computes the logits.
#[derive(Clone, Copy, Debug)]
pub enum Scorer<'a> {
    /// One linear layer.
    Linear(&'a LinearHead),
    /// Two linear layers, whose log-probabilities are added.
    Ensemble(&'a EnsembleHead),
    /// Adapter and classifier, on features scaled by the root of D.
    Trained(&'a Architecture, &'a Parameters),
    /// One linear layer on the features themselves.
    Classifier(&'a LinearHead),
    /// The log-probabilities of an ensemble, and of one linear layer on the features themselves,
    /// added by their shares.
    Blend {
        /// The ensemble.
        ensemble: &'a EnsembleHead,
        /// The linear layer.
        classifier: &'a LinearHead,
        /// What the scores of either are multiplied by.
        scales: [f32; 2],
        /// The share of the linear layer.
        share: f32,
    },
}

/// All that follows the backbone's features.
#[derive(Clone, Copy, Debug)]
pub struct Classifier<'a> {
    /// Width D.
    pub features: usize,
    /// The row-wise transform, which is applied first.
    pub transform: FeatureTransform,
    /// The part that computes the logits.
    pub scorer: Scorer<'a>,
    /// The number that divides the logits.
    pub temperature: f32,
    /// Distances to the classes.
    pub geometry: &'a Mahalanobis,
    /// The number subtracted from the geometry's novelty, and the one that then divides it. The
    /// result is never below 0.
    pub novelty_scale: [f32; 2],
}

impl Classifier<'_> {
    /// Returns the number of classes C.
    #[must_use]
    pub fn classes(&self) -> usize {
        match self.scorer {
            Scorer::Linear(head) | Scorer::Classifier(head) => head.classes.len(),
            Scorer::Ensemble(head) | Scorer::Blend { ensemble: head, .. } => head.classes().len(),
            Scorer::Trained(architecture, _) => architecture.classes(),
        }
    }

    pub(super) fn write(&self, nodes: &mut Nodes, features: &str) -> Result<()> {
        let mapped = self.transformed(nodes, features);
        let logits = match self.scorer {
            Scorer::Linear(head) => linear(nodes, head, &mapped),
            Scorer::Ensemble(head) => ensemble(nodes, head, &mapped),
            Scorer::Classifier(head) => linear(nodes, head, features),
            Scorer::Blend { ensemble: head, classifier, scales, share } => {
                let parts = [ensemble(nodes, head, &mapped), linear(nodes, classifier, features)];
                blend(nodes, parts, scales, share)
            }
            Scorer::Trained(architecture, parameters) => {
                let input = if self.transform == FeatureTransform::None {
                    mapped.clone()
                } else {
                    #[allow(clippy::cast_precision_loss, reason = "widths are small")]
                    let scale = nodes.scalar((self.features as f32).sqrt());
                    nodes.op("Mul", &[&mapped, &scale])
                };
                trained(nodes, architecture, parameters, &input)?
            }
        };
        let temperature = nodes.scalar(self.temperature);
        let scaled = nodes.op("Div", &[&logits, &temperature]);
        nodes.node("Softmax", &[&scaled], OUTPUTS[0], &[("axis", -1)]);
        nodes.node("Identity", &[&logits], OUTPUTS[1], &[]);
        self.novelty(nodes, &mapped);
        Ok(())
    }

    fn transformed(&self, nodes: &mut Nodes, h: &str) -> String {
        let rows = match self.transform {
            FeatureTransform::None => return h.to_owned(),
            FeatureTransform::L2 => h.to_owned(),
            FeatureTransform::SqrtL2 => {
                let positive = nodes.op("Relu", &[h]);
                nodes.op("Sqrt", &[&positive])
            }
        };
        let squares = nodes.op("Mul", &[&rows, &rows]);
        let total = nodes.sum_last(&squares, true);
        let norm = nodes.op("Sqrt", &[&total]);
        let least = nodes.scalar(f32::MIN_POSITIVE);
        let norm = nodes.op("Max", &[&norm, &least]);
        nodes.op("Div", &[&rows, &norm])
    }

    /// Adds max(0, (min_c ‖z - L⁻¹ (μ_c - m)‖² - 0.8 ‖z‖² - offset) / scale) for z = L⁻¹ (φ - m).
    fn novelty(&self, nodes: &mut Nodes, mapped: &str) {
        let state = self.geometry.state();
        let (width, classes) = (self.features, state.whitened.len() / self.features);
        let centre = nodes.floats(&[width], &state.centre);
        let centred = nodes.op("Sub", &[mapped, &centre]);
        let white = nodes.linear(&centred, &self.geometry.inverse_factor(), &vec![0.0; width], width);
        let shared = nodes.op("Mul", &[&white, &white]);
        let shared = nodes.sum_last(&shared, false);
        let share = nodes.scalar(SHARED);
        let shared = nodes.op("Mul", &[&shared, &share]);
        let white = nodes.unsqueeze(&white, 1);
        let means = nodes.floats(&[1, classes, width], &state.whitened);
        let apart = nodes.op("Sub", &[&white, &means]);
        let squares = nodes.op("Mul", &[&apart, &apart]);
        let distances = nodes.sum_last(&squares, false);
        // The smallest as the largest of the negative: ReduceMin takes its axes in another way from
        // opset 18 on.
        let negative = nodes.op("Neg", &[&distances]);
        let largest = nodes.largest(&negative);
        let nearest = nodes.op("Neg", &[&largest]);
        let flat = nodes.sum_last(&nearest, false);
        let novelty = nodes.op("Sub", &[&flat, &shared]);
        let [offset, scale] = self.novelty_scale.map(|value| nodes.scalar(value));
        let novelty = nodes.op("Sub", &[&novelty, &offset]);
        let novelty = nodes.op("Div", &[&novelty, &scale]);
        nodes.node("Relu", &[&novelty], OUTPUTS[2], &[]);
    }
}

/// Adds the logits of a head on transformed rows.
fn linear(nodes: &mut Nodes, head: &LinearHead, mapped: &str) -> String {
    let mut inputs = mapped.to_owned();
    if let Some(projection) = head.map.projection() {
        let projection = nodes.floats(&[head.map.features(), head.map.width()], projection);
        let wide = nodes.op("MatMul", &[mapped, &projection]);
        inputs = nodes.op("Relu", &[&wide]);
    }
    nodes.linear(&inputs, &head.weight, &head.bias, head.map.width())
}

/// Adds logits from components u = V φ - V m and the products u_i u_j, j ≤ i.
fn quadratic(nodes: &mut Nodes, class_covariances: &ClassCovariances, mapped: &str) -> String {
    let components = class_covariances.components.as_ref();
    let offset: Vec<f32> = components.offset.iter().map(|value| -value).collect();
    let u = nodes.linear(mapped, &components.directions, &offset, components.width());
    let (left, right): (Vec<_>, Vec<_>) = components.pairs().unzip();
    let [left, right] = [left, right].map(|columns| nodes.columns(&u, &columns));
    let products = nodes.op("Mul", &[&left, &right]);
    let terms = nodes.concatenated(&[&u, &products]);
    nodes.linear(&terms, &class_covariances.weight, &class_covariances.bias, components.terms())
}

/// Adds log softmax(a f) + log softmax(b g) for the logits f of the discriminant and g of the
/// ridge.
fn ensemble(nodes: &mut Nodes, head: &EnsembleHead, mapped: &str) -> String {
    let mut lda = linear(nodes, &head.lda, mapped);
    if let Some(class_covariances) = &head.class_covariances {
        let more = quadratic(nodes, class_covariances, mapped);
        lda = nodes.op("Add", &[&lda, &more]);
    }
    let ridge = linear(nodes, &head.ridge, mapped);
    let [lda, ridge] = [(lda, head.scales[0]), (ridge, head.scales[1])]
        .map(|(logits, scale)| nodes.scaled_log_softmax(&logits, scale));
    nodes.op("Add", &[&lda, &ridge])
}

/// Adds (1 - s) log softmax(a f) + s log softmax(b g).
fn blend(nodes: &mut Nodes, [f, g]: [String; 2], [a, b]: [f32; 2], share: f32) -> String {
    let [f, g] = [(f, a, 1.0 - share), (g, b, share)].map(|(logits, scale, share)| {
        let logarithms = nodes.scaled_log_softmax(&logits, scale);
        let share = nodes.scalar(share);
        nodes.op("Mul", &[&logarithms, &share])
    });
    nodes.op("Add", &[&f, &g])
}

fn trained(
    nodes: &mut Nodes,
    architecture: &Architecture,
    parameters: &Parameters,
    h: &str,
) -> Result<String> {
    let linear = |nodes: &mut Nodes, name: &str, inputs: usize, x: &str| -> Result<String> {
        Ok(nodes.linear(x, tensor(parameters, name, "weight")?, tensor(parameters, name, "bias")?, inputs))
    };
    let mut x = extractor::write(nodes, &architecture.extractor, parameters, h)?;
    for (number, layer) in architecture.classifier.0.iter().enumerate() {
        let name = format!("classifier.{number}");
        x = match *layer {
            Layer::Linear { inputs, .. } => linear(nodes, &name, inputs, &x)?,
            Layer::LayerNorm(width) => layer_norm(nodes, parameters, &name, width, &x)?,
            Layer::BatchNorm(width) => batch_norm(nodes, parameters, &name, width, &x)?,
            Layer::Relu => nodes.op("Relu", &[&x]),
        };
    }
    Ok(x)
}

fn batch_norm(
    nodes: &mut Nodes,
    parameters: &Parameters,
    name: &str,
    width: usize,
    x: &str,
) -> Result<String> {
    let part = |part: &str| -> Result<&[f32]> {
        let values = tensor(parameters, name, part)?;
        if values.len() == width { Ok(values) } else { Err(Error::shape(name, width, values.len())) }
    };
    let (weight, bias, mean) = (part("weight")?, part("bias")?, part("running_mean")?);
    #[allow(clippy::cast_possible_truncation, reason = "the engines compute in f32")]
    let eps = BATCH_NORM_EPS as f32;
    let variance = part("running_var")?.iter();
    let scale: Vec<f32> = weight.iter().zip(variance).map(|(w, v)| w / (v + eps).sqrt()).collect();
    let shift: Vec<f32> = (0..width).map(|i| bias[i] - mean[i] * scale[i]).collect();
    Ok(nodes.affine(x, &scale, &shift))
}
