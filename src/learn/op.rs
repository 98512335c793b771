//! Kernel calls as data. Each carries the settings of its definition in `reference` and explicit
//! sizes; both engines have one arm for each.

use crate::reference::activation::Activation;
use crate::reference::convolution::Depthwise;
use crate::reference::linear::Layout;
use crate::reference::normalize::{BatchNorm, BatchShape, LayerNorm};
use crate::reference::{contrast, distill, optim};

/// A buffer of a [`Program`](crate::learn::program::Program), by its place in `buffers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buf(pub usize);

/// A buffer from an element on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The buffer.
    pub buf: Buf,
    /// First element.
    pub start: usize,
}

impl From<Buf> for Span {
    fn from(buf: Buf) -> Self {
        Self { buf, start: 0 }
    }
}

/// An activation and the buffer that it gave: a gradient is 0 where the activation lets none
/// through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The activation.
    pub activation: Activation,
    /// Its output.
    pub y: Buf,
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// `y = mask(activation(product + bias + residual))`.
    Replace {
        /// `[n]`.
        bias: Option<Buf>,
        /// `[m, n]`.
        residual: Option<Buf>,
        /// What follows the sum.
        activation: Activation,
        /// Activations `[m, n]`.
        mask: Option<Mask>,
    },
    /// `y += product`.
    Add,
}

impl Finish {
    /// `y = product`.
    pub const PLAIN: Self = Self::masked(None);

    /// Whether nothing follows the product but its addition to y.
    #[must_use]
    pub fn is_bare(self) -> bool {
        self == Self::PLAIN || self == Self::Add
    }

    /// `y = mask(product)`: the backward pass of an activation.
    #[must_use]
    pub const fn masked(mask: Option<Mask>) -> Self {
        Self::Replace { bias: None, residual: None, activation: Activation::None, mask }
    }
}

/// What the backward pass of a normalisation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormTrace {
    /// Gradient of the output.
    pub d_y: Buf,
    /// Input of the forward pass.
    pub x: Buf,
    /// Output of the forward pass, where a ReLU followed.
    pub mask: Option<Buf>,
    /// Statistics that the forward pass left.
    pub stats: Buf,
}

/// The learning rate of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Which of the step's two rates.
    pub group: RateGroup,
    /// Its factor.
    pub scale: f64,
}

impl From<RateGroup> for Rate {
    fn from(group: RateGroup) -> Self {
        Self { group, scale: 1.0 }
    }
}

/// Which of the two learning rates a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateGroup {
    /// Extractor, projector, predictors.
    Features,
    /// Classifier.
    Classifier,
}

/// Slots of a step's row of loss terms. The four losses are unweighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Slot {
    /// Self-supervised term.
    Ssl,
    /// Feature distillation.
    FeatureDistill,
    /// Cross-entropy on labels.
    Classifier,
    /// Classifier distillation.
    ClassifierDistill,
    /// Distillation of the extractor's features.
    PooledDistill,
    /// Mean per-dimension deviation of the normalised projection (collapse watch).
    Deviation,
    /// Tensors with an element that is NaN or infinite.
    NonFinite,
}

/// A kernel call. Formulas and shapes are those of the definition of the same name.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are the definition's own arguments, documented there")]
pub enum Op {
    /// Copies the rows of `table` that the step's index names from its element `first` on to x
    /// `[rows, columns]`.
    GatherRows { table: Buf, table_rows: usize, first: usize, x: Buf, shape: [usize; 2] },
    /// Unpacks the latents of the rows that the step's index names from its element `first` on to
    /// x `[rows, positions, channels]`; the engine has the table.
    GatherCodes { table_rows: usize, first: usize, x: Buf, shape: [usize; 3] },
    /// Copies the labels of the rows that the step's index names from its element `first` on to
    /// where [`Op::CrossEntropy`] looks.
    GatherLabels { first: usize, rows: usize },
    /// A product of matrices, `shape` `[m, n, k]`.
    Gemm { layout: Layout, shape: [usize; 3], a: Span, b: Span, y: Span, alpha: f64, finish: Finish },
    /// Sums each column of g `[rows, columns]`.
    ColumnSum { g: Buf, out: Buf, shape: [usize; 2] },
    /// An activation alone, or behind the sum of two maps.
    Activate { len: usize, activation: Activation, x: Buf, residual: Option<Buf>, y: Buf },
    /// Gradient of what an activation was given.
    ActivateBackward { len: usize, d_y: Buf, mask: Mask, d_x: Buf },
    /// Depthwise convolution with its activation; `filters` are weight and bias.
    DepthwiseForward { shape: Depthwise, activation: Activation, x: Buf, filters: [Buf; 2], y: Buf },
    /// Gradient of the input of a depthwise convolution.
    DepthwiseBackwardInput { shape: Depthwise, d_y: Buf, weight: Buf, mask: Option<Mask>, d_x: Buf },
    /// Gradients of weight and bias of a depthwise convolution.
    DepthwiseBackwardWeight { shape: Depthwise, d_y: Buf, x: Buf, d_filters: [Buf; 2] },
    /// Mean of x `[images, positions, channels]` over its positions.
    AverageForward { shape: [usize; 3], x: Buf, y: Buf },
    /// Gradient of the input of [`Op::AverageForward`].
    AverageBackward { shape: [usize; 3], d_y: Buf, mask: Option<Mask>, d_x: Buf },
    /// Batch norm in training; `parameters` are weight, bias, running mean and running variance.
    BatchNormForward { shape: BatchShape, settings: BatchNorm, x: Buf, parameters: [Buf; 4], out: [Buf; 2] },
    /// Batch norm by its running statistics; `parameters` as in training.
    BatchNormInference { shape: [usize; 2], settings: BatchNorm, x: Buf, parameters: [Buf; 4], y: Buf },
    /// Gradients of batch norm; `d_affine` are those of weight and bias.
    BatchNormBackward { shape: BatchShape, trace: NormTrace, weight: Buf, d_x: Buf, d_affine: [Buf; 2] },
    /// Layer norm; `affine` are weight and bias, `out` y and the statistics.
    LayerNormForward { shape: [usize; 2], settings: LayerNorm, x: Buf, affine: [Buf; 2], out: [Buf; 2] },
    /// Gradient of the input of layer norm.
    LayerNormBackward { shape: [usize; 2], trace: NormTrace, weight: Buf, d_x: Buf },
    /// Gradients of weight and bias of layer norm.
    LayerNormBackwardAffine { shape: [usize; 2], trace: NormTrace, d_affine: [Buf; 2] },
    /// Brings rows to unit length.
    L2Forward { shape: [usize; 2], eps: f64, x: Buf, y: Buf, norm: Buf },
    /// Gradient of the input of [`Op::L2Forward`].
    L2Backward { shape: [usize; 2], eps: f64, d_y: Buf, y: Buf, norm: Buf, d_x: Buf },
    /// Cross-entropy with the gathered labels of `views` equal blocks of rows.
    CrossEntropy { shape: [usize; 2], views: usize, weight: f64, logits: Buf, loss: Buf, d_logits: Buf },
    /// Cross-entropy with soft targets, a weight a row, of `views` equal blocks of rows; `targets`
    /// are those and the weights.
    TargetCrossEntropy {
        shape: [usize; 2],
        views: usize,
        weight: f64,
        logits: Buf,
        targets: [Buf; 2],
        loss: Buf,
        d_logits: Buf,
    },
    /// Cross-entropy with a teacher's soft labels, added to `d_logits`.
    SoftLabel { settings: distill::SoftLabel, logits: Buf, teacher: Buf, loss: Buf, d_logits: Buf },
    /// A loss that is linear in the cosine of p and z.
    Cosine { shape: [usize; 2], settings: distill::Cosine, p: Buf, z: Buf, loss: Buf, d_p: Buf },
    /// The squared distance of r and o.
    Mse { shape: [usize; 2], settings: distill::Mse, r: Buf, o: Buf, loss: Buf, d_r: Buf },
    /// NT-Xent; `similarity` `[2 half, 2 half]` becomes its gradient.
    NtXent { half: usize, settings: contrast::NtXent, similarity: Buf, loss: Buf },
    /// InfoNCE against a queue; `similarity` becomes its gradient.
    InfoNce { settings: contrast::InfoNce, q: Buf, k: Buf, similarity: Buf, d_q: Buf, loss: Buf },
    /// Log-sum-exp of each row.
    RowLse { shape: [usize; 2], s: Buf, lse: Buf },
    /// Log-sum-exp of each column.
    ColumnLse { shape: [usize; 2], s: Buf, lse: Buf },
    /// Cross-entropy of s against its diagonal; `lse` are those of its rows and columns.
    Symmetric { rows: usize, scale: f64, weight: f64, lse: [Buf; 2], s: Buf, loss: Buf },
    /// VICReg's variance term and the centring of its covariance; `d_z` is added to.
    Variance { settings: contrast::Variance, z: Buf, centred: Buf, loss: Buf, d_z: Buf },
    /// Decorrelation of c `[width, width]`, which becomes its gradient.
    Correlation { width: usize, settings: contrast::Correlation, c: Buf, loss: Buf },
    /// Adds `scale` times the sum of `rows` to a loss term.
    TermSum { rows: Buf, len: usize, slot: Slot, scale: f64 },
    /// Standard deviation of each column of z.
    ColumnDeviation { shape: [usize; 2], z: Buf, deviation: Buf },
    /// Writes the sum of squares of x to the element `at` of `out`.
    SquareSum { x: Buf, len: usize, out: Buf, at: usize },
    /// Adds the number of elements of x that are not finite to a loss term.
    NonFinite { x: Buf, len: usize, slot: Slot },
    /// A step of SGD with momentum.
    Sgd { settings: optim::Sgd, rate: Rate, len: usize, grad: Buf, weight: Buf, velocity: Buf },
    /// A step of clipped LARS; `state` are weight and velocity, `norms` the square sums.
    Lars { settings: optim::Lars, rate: Rate, len: usize, norms: Buf, grad: Buf, state: [Buf; 2] },
    /// A step of AdamW; `state` are weight and both moments.
    AdamW { settings: optim::AdamW, rate: Rate, len: usize, grad: Buf, state: [Buf; 3] },
    /// Moves a momentum copy towards its online tensor.
    Ema { online: Buf, copy: Buf, len: usize },
    /// Writes rows of `keys` `[rows, columns]` over the oldest ones of a queue.
    Enqueue { keys: Buf, first_row: usize, shape: [usize; 2], queue: Buf, queue_rows: usize },
}
