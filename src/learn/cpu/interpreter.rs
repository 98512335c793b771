//! Runs a program op by op. Outputs are taken out of their place while inputs are read, so nothing is copied.

use faer::traits::ComplexField;

use super::constants::{
    BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, COSINE_EPS, L2_EPS, LARS_EPS, LAYER_NORM_EPS, VARIANCE_EPS,
};
use super::{parallel, product};
use crate::learn::engine::StepInput;
use crate::learn::program::{Buf, Finish, NormShape, Op, Program, RateGroup, Role, Span, Update};
use crate::learn::update::Optimizer;
use crate::reference::linear::{Epilogue, Layout, gemm};
use crate::reference::{Real, batch, classify, contrast, distill, normalize, optim, reduce};

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The definition's triple loop.
    Plain,
    /// Blocked, SIMD, with this many threads.
    Blocked(usize),
}

/// A step's scalars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalars {
    /// Learning rate of adapter, projector and predictors.
    pub learning_rate: f64,
    /// Learning rate of the classifier.
    pub classifier_rate: f64,
    /// EMA decay of the momentum copies.
    pub momentum_decay: f64,
    /// 1 / labelled rows of one view, or 0.
    pub inverse_labelled: f64,
    /// `1 - beta1^t`, `1 - beta2^t` of AdamW.
    pub corrections: [f64; 2],
    /// Queue row that the first new key goes to.
    pub queue_start: usize,
}

impl Scalars {
    /// The scalars of a step.
    #[must_use]
    pub fn of(input: &StepInput, inverse_labelled: f64, optimizer: &Optimizer) -> Self {
        let t = i32::try_from(input.step.saturating_add(1)).unwrap_or(i32::MAX);
        let corrections = match *optimizer {
            Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2].map(|beta| 1.0 - beta.powi(t)),
            _ => [1.0, 1.0],
        };
        Self {
            learning_rate: input.learning_rate,
            classifier_rate: input.classifier_rate,
            momentum_decay: input.momentum_decay,
            inverse_labelled,
            corrections,
            queue_start: input.queue_start,
        }
    }
}

/// A program with its buffers in memory.
#[derive(Debug)]
pub struct Interpreter<T> {
    program: Program,
    product: Product,
    buffers: Vec<Vec<T>>,
    label_table: Vec<i32>,
    labels: Vec<i32>,
    terms: Vec<T>,
    work: Vec<T>,
}

impl<T: Real + ComplexField> Interpreter<T> {
    /// Buffers for `program`, zeroed; constants filled.
    #[must_use]
    pub fn new(program: Program, product: Product) -> Self {
        let zero = <T as num_traits::Zero>::zero();
        let filled = |role: &Role| {
            if let Role::Constant(value) = role { T::of(*value) } else { zero }
        };
        let buffers = program.buffers.iter().map(|spec| vec![filled(&spec.role); spec.len]).collect();
        let widest = program.ops.iter().map(|op| match op {
            Op::BatchNormBackward { shape, .. } => 2 * shape.columns,
            Op::ColumnDeviation { columns, .. } => *columns,
            _ => 0,
        });
        let work = vec![zero; widest.max().unwrap_or(0)];
        let labels = vec![-1; program.index_rows];
        Self {
            product,
            buffers,
            label_table: Vec::new(),
            labels,
            terms: vec![zero; Program::TERMS],
            work,
            program,
        }
    }

    /// Sets the labels of the table's rows.
    pub fn set_labels(&mut self, labels: &[i32]) {
        self.label_table = labels.to_vec();
    }

    /// Sets the buffer of that role, if the program has one; gives whether it has.
    pub fn set(&mut self, role: &Role, values: &[f32]) -> bool {
        let Some(Buf(buf)) = self.program.find(role) else {
            return false;
        };
        self.buffers[buf].iter_mut().zip(values).for_each(|(to, &from)| *to = T::of(f64::from(from)));
        true
    }

    /// Makes `values` the buffer of that role, if the program has one; gives whether it has.
    pub fn adopt(&mut self, role: &Role, values: Vec<T>) -> bool {
        let Some(Buf(buf)) = self.program.find(role) else {
            return false;
        };
        self.buffers[buf] = values;
        true
    }

    /// The buffer of that role, if the program has one.
    #[must_use]
    pub fn get(&self, role: &Role) -> Option<&[T]> {
        self.program.find(role).map(|buf| self.buffers[buf.0].as_slice())
    }

    /// Runs one step on the table rows `index`; gives the row of loss terms.
    pub fn run(&mut self, index: &[u32], scalars: &Scalars) -> &[T] {
        self.terms.fill(<T as num_traits::Zero>::zero());
        let ops = std::mem::take(&mut self.program.ops);
        for op in &ops {
            self.op(op, index, scalars);
        }
        self.program.ops = ops;
        &self.terms
    }

    fn take<const N: usize>(&mut self, bufs: [Buf; N]) -> [Vec<T>; N] {
        bufs.map(|buf| std::mem::take(&mut self.buffers[buf.0]))
    }

    fn put<const N: usize>(&mut self, bufs: [Buf; N], values: [Vec<T>; N]) {
        bufs.into_iter().zip(values).for_each(|(buf, values)| self.buffers[buf.0] = values);
    }

    fn at(&self, buf: Buf) -> &[T] {
        &self.buffers[buf.0]
    }

    fn op(&mut self, op: &Op, index: &[u32], scalars: &Scalars) {
        match *op {
            Op::GatherRows { table, x, columns, .. } => {
                let [mut out] = self.take([x]);
                parallel::rows(&mut out, columns, |first, rows| {
                    batch::gather_rows(columns, self.at(table), &index[first..], rows);
                });
                self.put([x], [out]);
            }
            Op::GatherLabels { .. } => batch::gather_labels(&self.label_table, index, &mut self.labels),
            Op::Gemm { layout, shape, a, b, y, alpha, finish } => {
                self.gemm(layout, shape, [a, b, y], alpha, finish);
            }
            Op::TermSum { rows, len, slot, scale } => {
                let sum = reduce::term_sum(T::of(scale), &self.at(rows)[..len]);
                self.terms[slot] += sum;
            }
            Op::NonFinite { x, len, slot } => {
                let count = crate::reference::count::<T>(reduce::nonfinite(&self.at(x)[..len]));
                self.terms[slot] += count;
            }
            Op::ColumnSum { g, out, rows, columns } => {
                let [mut sum] = self.take([out]);
                reduce::column_sum(columns, false, &self.at(g)[..rows * columns], &mut sum);
                self.put([out], [sum]);
            }
            Op::ColumnDeviation { z, deviation, columns, .. } => {
                let ([mut out], mut work) = (self.take([deviation]), std::mem::take(&mut self.work));
                reduce::column_deviation(self.at(z), &mut work[..columns], &mut out);
                self.put([deviation], [out]);
                self.work = work;
            }
            Op::SquareSum { x, len, out, slot } => {
                self.buffers[out.0][slot] = parallel::square_sum(&self.at(x)[..len]);
            }
            Op::Update { rule, group, grad, weight, .. } => self.update(rule, group, [grad, weight], scalars),
            Op::Ema { online, copy, .. } => {
                let [mut out] = self.take([copy]);
                let decay = T::of(scalars.momentum_decay);
                parallel::rows(&mut out, 1, |first, piece| {
                    optim::ema(decay, &self.at(online)[first..], piece);
                });
                self.put([copy], [out]);
            }
            Op::Enqueue { keys, first_row, rows, columns, queue, .. } => {
                let [mut out] = self.take([queue]);
                let keys = &self.at(keys)[first_row * columns..(first_row + rows) * columns];
                batch::enqueue(columns, scalars.queue_start, keys, &mut out);
                self.put([queue], [out]);
            }
            _ => self.normalization_or_loss(op, scalars),
        }
    }

    fn gemm(&mut self, layout: Layout, shape: [usize; 3], [a, b, y]: [Span; 3], alpha: f64, finish: Finish) {
        let [mut out] = self.take([y.buf]);
        let optional = |buf: Option<Buf>| buf.map(|buf| self.at(buf));
        let epilogue = match finish {
            Finish::Replace { bias, residual, relu, mask } => Epilogue {
                alpha: T::of(alpha),
                bias: optional(bias),
                residual: optional(residual),
                relu,
                mask: optional(mask),
                accumulate: false,
            },
            Finish::Add => Epilogue { alpha: T::of(alpha), accumulate: true, ..Epilogue::none() },
        };
        let (left, right) = (&self.at(a.buf)[a.start..], &self.at(b.buf)[b.start..]);
        let target = &mut out[y.start..];
        match self.product {
            Product::Plain => gemm(layout, shape, left, right, target, &epilogue),
            Product::Blocked(threads) => {
                product::blocked(layout, shape, left, right, target, &epilogue, threads);
            }
        }
        self.put([y.buf], [out]);
    }

    fn update(&mut self, rule: Update, group: RateGroup, [grad, weight]: [Buf; 2], scalars: &Scalars) {
        let rate = T::of(match group {
            RateGroup::Features => scalars.learning_rate,
            RateGroup::Classifier => scalars.classifier_rate,
        });
        match rule {
            Update::Sgd { velocity, momentum, decay } => {
                let [mut w, mut v] = self.take([weight, velocity]);
                let settings = optim::Sgd { momentum: T::of(momentum), weight_decay: T::of(decay) };
                parallel::rows2((&mut w, 1), (&mut v, 1), |first, w, v| {
                    optim::sgd(rate, &settings, &self.at(grad)[first..], w, v);
                });
                self.put([weight, velocity], [w, v]);
            }
            Update::Lars { velocity, norms, momentum, decay, trust } => {
                let [mut w, mut v] = self.take([weight, velocity]);
                let settings = optim::Lars {
                    trust: T::of(trust),
                    momentum: T::of(momentum),
                    weight_decay: T::of(decay),
                    eps: T::of(LARS_EPS),
                    clip: true,
                };
                let squares = [self.at(norms)[0], self.at(norms)[1]];
                parallel::rows2((&mut w, 1), (&mut v, 1), |first, w, v| {
                    optim::lars(rate, &settings, squares, &self.at(grad)[first..], w, v);
                });
                self.put([weight, velocity], [w, v]);
            }
            Update::AdamW { moment1, moment2, beta1, beta2, eps, decay } => {
                let [mut w, mut m, mut s] = self.take([weight, moment1, moment2]);
                let settings = optim::AdamW {
                    beta1: T::of(beta1),
                    beta2: T::of(beta2),
                    eps: T::of(eps),
                    weight_decay: T::of(decay),
                };
                let corrections = scalars.corrections.map(T::of);
                parallel::elements3([&mut w, &mut m, &mut s], |first, w, m, s| {
                    optim::adamw(rate, &settings, corrections, &self.at(grad)[first..], w, [m, s]);
                });
                self.put([weight, moment1, moment2], [w, m, s]);
            }
        }
    }

    fn normalization_or_loss(&mut self, op: &Op, scalars: &Scalars) {
        match *op {
            Op::BatchNormForward { x, weight, bias, y, stats, running, shape } => {
                self.batch_norm_forward([x, weight, bias, y, stats], running, shape);
            }
            Op::BatchNormInference { x, weight, bias, running, y, shape } => {
                let [mut out] = self.take([y]);
                let (affine, running) = ([self.at(weight), self.at(bias)], running.map(|buf| self.at(buf)));
                normalize::batch_norm_inference(
                    shape.columns,
                    &batch_norm(shape),
                    self.at(x),
                    affine,
                    running,
                    &mut out,
                );
                self.put([y], [out]);
            }
            Op::BatchNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape } => {
                self.batch_norm_backward([d_y, x, y, weight, stats], [d_x, d_weight, d_bias], shape);
            }
            Op::LayerNormForward { x, weight, bias, y, stats, shape } => {
                let [mut out, mut saved] = self.take([y, stats]);
                let settings = normalize::LayerNorm { eps: T::of(LAYER_NORM_EPS), relu: shape.relu };
                let affine = [self.at(weight), self.at(bias)];
                normalize::layer_norm_forward(
                    shape.columns,
                    &settings,
                    self.at(x),
                    affine,
                    &mut out,
                    &mut saved,
                );
                self.put([y, stats], [out, saved]);
            }
            Op::LayerNormBackward { d_y, x, y, weight, stats, d_x, d_weight, d_bias, shape } => {
                self.layer_norm_backward([d_y, x, y, weight, stats], d_x, [d_weight, d_bias], shape);
            }
            Op::L2Forward { x, y, norm, columns, .. } => {
                let [mut out, mut norms] = self.take([y, norm]);
                parallel::rows2((&mut out, columns), (&mut norms, 1), |first, y, norm| {
                    normalize::l2_forward(columns, T::of(L2_EPS), &self.at(x)[first * columns..], y, norm);
                });
                self.put([y, norm], [out, norms]);
            }
            Op::L2Backward { d_y, y, norm, d_x, columns, .. } => {
                let [mut out] = self.take([d_x]);
                parallel::rows(&mut out, columns, |first, d_x| {
                    let from = |buf: Buf| &self.at(buf)[first * columns..];
                    let norms = &self.at(norm)[first..];
                    normalize::l2_backward(columns, T::of(L2_EPS), from(d_y), from(y), norms, false, d_x);
                });
                self.put([d_x], [out]);
            }
            _ => self.loss(op, scalars),
        }
    }

    fn batch_norm_forward(
        &mut self,
        [x, weight, bias, y, stats]: [Buf; 5],
        running: [Buf; 2],
        shape: NormShape,
    ) {
        let [mut out, mut saved, mut mean, mut var] = self.take([y, stats, running[0], running[1]]);
        if let Ok(sizes) = normalize::BatchShape::new(shape.rows, shape.columns, shape.groups) {
            let affine = [self.at(weight), self.at(bias)];
            let running = [&mut mean[..], &mut var[..]];
            normalize::batch_norm_forward(
                sizes,
                &batch_norm(shape),
                self.at(x),
                affine,
                &mut out,
                &mut saved,
                running,
            );
        }
        self.put([y, stats, running[0], running[1]], [out, saved, mean, var]);
    }

    fn batch_norm_backward(
        &mut self,
        [d_y, x, y, weight, stats]: [Buf; 5],
        outputs: [Buf; 3],
        shape: NormShape,
    ) {
        let [mut d_x, mut d_weight, mut d_bias] = self.take(outputs);
        let mut work = std::mem::take(&mut self.work);
        if let Ok(sizes) = normalize::BatchShape::new(shape.rows, shape.columns, shape.groups) {
            let mask = shape.relu.then(|| self.at(y));
            let (d_y, x, weight, stats) = (self.at(d_y), self.at(x), self.at(weight), self.at(stats));
            let affine = [&mut d_weight[..], &mut d_bias[..]];
            normalize::batch_norm_backward(sizes, d_y, x, mask, weight, stats, &mut d_x, affine, &mut work);
        }
        self.work = work;
        self.put(outputs, [d_x, d_weight, d_bias]);
    }

    fn layer_norm_backward(
        &mut self,
        [d_y, x, y, weight, stats]: [Buf; 5],
        d_x: Option<Buf>,
        affine: [Buf; 2],
        shape: NormShape,
    ) {
        let columns = shape.columns;
        if let Some(d_x) = d_x {
            let [mut out] = self.take([d_x]);
            let mask = shape.relu.then(|| self.at(y));
            let (d_y, x, weight, stats) = (self.at(d_y), self.at(x), self.at(weight), self.at(stats));
            normalize::layer_norm_backward(columns, d_y, x, mask, weight, stats, &mut out);
            self.put([d_x], [out]);
        }
        let [mut d_weight, mut d_bias] = self.take(affine);
        let mask = shape.relu.then(|| self.at(y));
        let (d_y, x, stats) = (self.at(d_y), self.at(x), self.at(stats));
        normalize::layer_norm_backward_affine(columns, d_y, x, mask, stats, [&mut d_weight, &mut d_bias]);
        self.put(affine, [d_weight, d_bias]);
    }

    #[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
    fn loss(&mut self, op: &Op, scalars: &Scalars) {
        let of = T::of;
        match *op {
            Op::CrossEntropy { logits, loss, d_logits, rows, classes, weight } => {
                let [mut losses, mut d] = self.take([loss, d_logits]);
                let settings = classify::CrossEntropy {
                    inverse_labelled: of(scalars.inverse_labelled),
                    weight: of(weight),
                };
                let (logits, labels) = (self.at(logits), &self.labels);
                classify::cross_entropy([rows, classes], &settings, logits, labels, &mut losses, &mut d);
                self.put([loss, d_logits], [losses, d]);
            }
            Op::SoftLabel {
                logits,
                teacher,
                loss,
                d_logits,
                rows,
                classes,
                teacher_classes,
                known,
                loss_scale,
                weight,
            } => {
                let [mut losses, mut d] = self.take([loss, d_logits]);
                let (loss_scale, weight) = (of(loss_scale), of(weight));
                let settings = distill::SoftLabel {
                    rows,
                    classes,
                    teacher_classes,
                    known,
                    loss_scale,
                    weight,
                    overwrite: false,
                };
                distill::soft_label(&settings, self.at(logits), self.at(teacher), &mut losses, &mut d);
                self.put([loss, d_logits], [losses, d]);
            }
            Op::Cosine { p, z, loss, d_p, rows, columns, row_shift, loss_scale, slope, offset, weight } => {
                let [mut losses, mut d] = self.take([loss, d_p]);
                let settings = distill::Cosine {
                    row_shift,
                    loss_scale: of(loss_scale),
                    slope: of(slope),
                    offset: of(offset),
                    weight: of(weight),
                    eps: of(COSINE_EPS),
                    accumulate: false,
                };
                distill::cosine([rows, columns], &settings, self.at(p), self.at(z), &mut losses, &mut d);
                self.put([loss, d_p], [losses, d]);
            }
            Op::Mse {
                r,
                o,
                loss,
                d_r,
                rows,
                columns,
                row_shift,
                loss_scale,
                gradient_scale,
                weight,
                accumulate,
            } => {
                let [mut losses, mut d] = self.take([loss, d_r]);
                let (loss_scale, gradient_scale, weight) = (of(loss_scale), of(gradient_scale), of(weight));
                let settings = distill::Mse { row_shift, loss_scale, gradient_scale, weight, accumulate };
                distill::mse([rows, columns], &settings, self.at(r), self.at(o), &mut losses, &mut d);
                self.put([loss, d_r], [losses, d]);
            }
            _ => self.contrastive(op),
        }
    }

    fn contrastive(&mut self, op: &Op) {
        let of = T::of;
        match *op {
            Op::NtXent { similarity, loss, rows, scale, weight, decoupled } => {
                let [mut s, mut losses] = self.take([similarity, loss]);
                let settings = contrast::NtXent { decoupled, scale: of(scale), weight: of(weight) };
                contrast::nt_xent(rows / 2, &settings, &mut losses, &mut s);
                self.put([similarity, loss], [s, losses]);
            }
            Op::InfoNce { .. } => self.info_nce(op),
            Op::RowLse { s, lse, rows, columns } => {
                let [mut out] = self.take([lse]);
                contrast::row_lse([rows, columns], self.at(s), &mut out);
                self.put([lse], [out]);
            }
            Op::ColumnLse { s, lse, rows, columns } => {
                let [mut out] = self.take([lse]);
                contrast::column_lse([rows, columns], self.at(s), &mut out);
                self.put([lse], [out]);
            }
            Op::Symmetric { s, row_lse, column_lse, loss, rows, scale, weight } => {
                let [mut out, mut losses] = self.take([s, loss]);
                let (row_lse, column_lse) = (self.at(row_lse), self.at(column_lse));
                contrast::symmetric(
                    rows,
                    [of(scale), of(weight)],
                    row_lse,
                    column_lse,
                    &mut losses,
                    &mut out,
                );
                self.put([s, loss], [out, losses]);
            }
            Op::Variance { z, centred, loss, d_z, rows, columns, groups, loss_scale, weight } => {
                let [mut c, mut losses, mut d] = self.take([centred, loss, d_z]);
                let (loss_scale, weight) = (of(loss_scale), of(weight));
                let (target_std, eps) = (of(1.0), of(VARIANCE_EPS));
                let settings =
                    contrast::Variance { rows, columns, groups, loss_scale, weight, target_std, eps };
                contrast::variance(&settings, self.at(z), &mut c, &mut losses, &mut d);
                self.put([centred, loss, d_z], [c, losses, d]);
            }
            Op::Correlation { c, loss, width, diagonal_target, diagonal_scale, off_scale, weight } => {
                let [mut out, mut losses] = self.take([c, loss]);
                let settings = contrast::Correlation {
                    diagonal_target: of(diagonal_target),
                    diagonal_scale: of(diagonal_scale),
                    off_scale: of(off_scale),
                    weight: of(weight),
                };
                contrast::correlation(width, &settings, &mut losses, &mut out);
                self.put([c, loss], [out, losses]);
            }
            _ => {}
        }
    }

    /// The keys of one half of the rows are the other half's, so each half is contiguous.
    fn info_nce(&mut self, op: &Op) {
        let Op::InfoNce {
            q,
            k,
            similarity,
            d_q,
            loss,
            rows,
            columns,
            queue,
            row_shift,
            inverse_temperature,
            scale,
            weight,
        } = *op
        else {
            return;
        };
        let [mut s, mut d, mut losses] = self.take([similarity, d_q, loss]);
        let halves = if row_shift * 2 == rows && row_shift > 0 { 2 } else { 1 };
        let half = rows / halves;
        let shift = if halves == 2 { 0 } else { row_shift };
        let settings = contrast::InfoNce {
            rows: half,
            columns,
            negatives: queue,
            row_shift: shift,
            inverse_temperature: T::of(inverse_temperature),
            scale: T::of(scale),
            weight: T::of(weight),
        };
        let pieces = s
            .chunks_mut((half * queue).max(1))
            .zip(d.chunks_mut(half * columns))
            .zip(losses.chunks_mut(half));
        let (q, k) = (self.at(q), self.at(k));
        rayon::scope(|scope| {
            for (h, ((s, d), losses)) in pieces.enumerate() {
                let (mine, theirs) = (h * half * columns, ((h + halves - 1) % halves) * half * columns);
                let (q, k, settings) =
                    (&q[mine..][..half * columns], &k[theirs..][..half * columns], &settings);
                scope.spawn(move |_| contrast::info_nce(settings, q, k, losses, d, s));
            }
        });
        self.put([similarity, d_q, loss], [s, d, losses]);
    }
}

fn batch_norm<T: Real>(shape: NormShape) -> normalize::BatchNorm<T> {
    normalize::BatchNorm {
        eps: T::of(BATCH_NORM_EPS),
        momentum: T::of(BATCH_NORM_MOMENTUM),
        relu: shape.relu,
    }
}
