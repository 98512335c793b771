//! One training step written down: buffers and kernel calls in order. Each engine runs the same list, the CPU one
//! by calling definitions and products, the GPU one by recording it once into a plan. It is data, not a tensor
//! library: no shapes are inferred and no gradient is derived, both are written by hand in `step`.

use crate::reference::linear::Layout;

/// A buffer of a [`Program`], by its place in `buffers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buf(pub usize);

/// What a buffer holds and how long it lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// A tensor of the training state by name: it survives the step and is part of a snapshot.
    State(String),
    /// Gradient of the state tensor of that name.
    Gradient(String),
    /// The features of task and replay, `[S, D]`, fixed for the task.
    Table,
    /// The same value everywhere, never written.
    Constant(f64),
    /// Overwritten within each step.
    Scratch,
}

/// A buffer's role and number of elements.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferSpec {
    /// What it holds.
    pub role: Role,
    /// Elements.
    pub len: usize,
}

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

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// `y = mask(relu(product + bias + residual))`.
    Replace {
        /// `[n]`.
        bias: Option<Buf>,
        /// `[m, n]`.
        residual: Option<Buf>,
        /// Negative values become 0.
        relu: bool,
        /// Activations `[m, n]`; 0 where they are not positive.
        mask: Option<Buf>,
    },
    /// `y += product`.
    Add,
}

impl Finish {
    /// `y = product`.
    pub const PLAIN: Self = Self::Replace { bias: None, residual: None, relu: false, mask: None };
}

/// Rows, columns and statistics groups of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormShape {
    /// Rows M.
    pub rows: usize,
    /// Columns F.
    pub columns: usize,
    /// Equal blocks of rows with statistics of their own (one per view).
    pub groups: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// Which of the two learning rates a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateGroup {
    /// Adapter, projector, predictors.
    Features,
    /// Classifier.
    Classifier,
}

/// Update rule of one tensor with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are the rule's own constants, documented in `reference::optim`")]
pub enum Update {
    /// SGD with momentum.
    Sgd { velocity: Buf, momentum: f64, decay: f64 },
    /// Clipped LARS over SGD with momentum; `norms` holds the square sums of weight and gradient.
    Lars { velocity: Buf, norms: Buf, momentum: f64, decay: f64, trust: f64 },
    /// AdamW.
    AdamW { moment1: Buf, moment2: Buf, beta1: f64, beta2: f64, eps: f64, decay: f64 },
}

/// Kernel calls. Sizes are explicit; formulas are those of the kernel of the same name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are the kernel's own parameters, documented there")]
pub enum Op {
    GatherRows {
        table: Buf,
        table_rows: usize,
        x: Buf,
        rows: usize,
        columns: usize,
    },
    GatherLabels {
        rows: usize,
    },
    Gemm {
        layout: Layout,
        shape: [usize; 3],
        a: Span,
        b: Span,
        y: Span,
        alpha: f64,
        finish: Finish,
    },
    ColumnSum {
        g: Buf,
        out: Buf,
        rows: usize,
        columns: usize,
    },
    BatchNormForward {
        x: Buf,
        weight: Buf,
        bias: Buf,
        y: Buf,
        stats: Buf,
        running: [Buf; 2],
        shape: NormShape,
    },
    BatchNormInference {
        x: Buf,
        weight: Buf,
        bias: Buf,
        running: [Buf; 2],
        y: Buf,
        shape: NormShape,
    },
    BatchNormBackward {
        d_y: Buf,
        x: Buf,
        y: Buf,
        weight: Buf,
        stats: Buf,
        d_x: Buf,
        d_weight: Buf,
        d_bias: Buf,
        shape: NormShape,
    },
    LayerNormForward {
        x: Buf,
        weight: Buf,
        bias: Buf,
        y: Buf,
        stats: Buf,
        shape: NormShape,
    },
    LayerNormBackward {
        d_y: Buf,
        x: Buf,
        y: Buf,
        weight: Buf,
        stats: Buf,
        d_x: Option<Buf>,
        d_weight: Buf,
        d_bias: Buf,
        shape: NormShape,
    },
    L2Forward {
        x: Buf,
        y: Buf,
        norm: Buf,
        rows: usize,
        columns: usize,
    },
    L2Backward {
        d_y: Buf,
        y: Buf,
        norm: Buf,
        d_x: Buf,
        rows: usize,
        columns: usize,
    },
    CrossEntropy {
        logits: Buf,
        loss: Buf,
        d_logits: Buf,
        rows: usize,
        classes: usize,
        weight: f64,
    },
    SoftLabel {
        logits: Buf,
        teacher: Buf,
        loss: Buf,
        d_logits: Buf,
        rows: usize,
        classes: usize,
        teacher_classes: usize,
        known: usize,
        loss_scale: f64,
        weight: f64,
    },
    Cosine {
        p: Buf,
        z: Buf,
        loss: Buf,
        d_p: Buf,
        rows: usize,
        columns: usize,
        row_shift: usize,
        loss_scale: f64,
        slope: f64,
        offset: f64,
        weight: f64,
    },
    Mse {
        r: Buf,
        o: Buf,
        loss: Buf,
        d_r: Buf,
        rows: usize,
        columns: usize,
        row_shift: usize,
        loss_scale: f64,
        gradient_scale: f64,
        weight: f64,
        accumulate: bool,
    },
    NtXent {
        similarity: Buf,
        loss: Buf,
        rows: usize,
        scale: f64,
        weight: f64,
        decoupled: bool,
    },
    InfoNce {
        q: Buf,
        k: Buf,
        similarity: Buf,
        d_q: Buf,
        loss: Buf,
        rows: usize,
        columns: usize,
        queue: usize,
        row_shift: usize,
        inverse_temperature: f64,
        scale: f64,
        weight: f64,
    },
    RowLse {
        s: Buf,
        lse: Buf,
        rows: usize,
        columns: usize,
    },
    ColumnLse {
        s: Buf,
        lse: Buf,
        rows: usize,
        columns: usize,
    },
    Symmetric {
        s: Buf,
        row_lse: Buf,
        column_lse: Buf,
        loss: Buf,
        rows: usize,
        scale: f64,
        weight: f64,
    },
    Variance {
        z: Buf,
        centred: Buf,
        loss: Buf,
        d_z: Buf,
        rows: usize,
        columns: usize,
        groups: usize,
        loss_scale: f64,
        weight: f64,
    },
    Correlation {
        c: Buf,
        loss: Buf,
        width: usize,
        diagonal_target: f64,
        diagonal_scale: f64,
        off_scale: f64,
        weight: f64,
    },
    TermSum {
        rows: Buf,
        len: usize,
        slot: usize,
        scale: f64,
    },
    ColumnDeviation {
        z: Buf,
        deviation: Buf,
        rows: usize,
        columns: usize,
    },
    SquareSum {
        x: Buf,
        len: usize,
        out: Buf,
        slot: usize,
    },
    NonFinite {
        x: Buf,
        len: usize,
        slot: usize,
    },
    Update {
        rule: Update,
        group: RateGroup,
        grad: Buf,
        weight: Buf,
        len: usize,
    },
    Ema {
        online: Buf,
        copy: Buf,
        len: usize,
    },
    Enqueue {
        keys: Buf,
        first_row: usize,
        rows: usize,
        columns: usize,
        queue: Buf,
        queue_rows: usize,
    },
}

/// A step: buffers and ops in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// All buffers.
    pub buffers: Vec<BufferSpec>,
    /// Kernel calls in order.
    pub ops: Vec<Op>,
    /// Rows gathered per step (2N); the length of one step's slice of the index buffer.
    pub index_rows: usize,
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
    /// Mean per-dimension deviation of the normalised projection (collapse watch).
    Deviation,
    /// Elements of parameters that are NaN or infinite.
    NonFinite,
}

impl Program {
    /// Width of a step's row of loss terms.
    pub const TERMS: usize = 8; // a multiple of 8, so that a row is 32-byte aligned

    /// Adds a buffer.
    pub fn buffer(&mut self, role: Role, len: usize) -> Buf {
        self.buffers.push(BufferSpec { role, len });
        Buf(self.buffers.len() - 1)
    }

    /// The buffer of that role, if there is one.
    #[must_use]
    pub fn find(&self, role: &Role) -> Option<Buf> {
        self.buffers.iter().position(|spec| spec.role == *role).map(Buf)
    }

    /// The state tensor's or constant's buffer, made at first use.
    pub fn shared(&mut self, role: Role, len: usize) -> Buf {
        match self.find(&role) {
            Some(buf) if !matches!(role, Role::Constant(_)) || self.buffers[buf.0].len >= len => buf,
            _ => self.buffer(role, len),
        }
    }

    /// A scratch buffer.
    pub fn scratch(&mut self, len: usize) -> Buf {
        self.buffer(Role::Scratch, len)
    }

    /// Adds an op.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Bytes of all buffers but the table, in 32-bit elements.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffers.iter().filter(|spec| spec.role != Role::Table).map(|spec| spec.len * 4).sum()
    }
}
