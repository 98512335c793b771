//! Runs a program op by op, by the definitions of `reference` and a product.

use faer::traits::ComplexField;

use super::info_nce::info_nce;
use super::places::Places;
use super::product::Product;
use super::{depthwise, parallel, product};
use crate::latent::LatentTable;
use crate::learn::engine::StepInput;
use crate::learn::op::{Buf, Finish, Mask, Op, Span};
use crate::learn::program::{Program, Role};
use crate::number::real;
use crate::reference::activation::{Activation, activate, activate_backward};
use crate::reference::linear::{Epilogue, Layout, gemm};
use crate::reference::{
    Real, batch, classify, contrast, convolution, distill, normalize, optim, pool, reduce,
};

/// A program with its buffers in memory.
#[derive(Debug)]
pub struct Interpreter<T> {
    program: Program,
    product: Product,
    places: Places<T>,
    label_table: Vec<i32>,
    latents: LatentTable,
    /// Scales of the latents.
    scales: Vec<f32>,
    /// Labels of the step's rows.
    labels: Vec<i32>,
    terms: Vec<T>,
}

impl<T: Real + ComplexField> Interpreter<T> {
    /// Buffers for `program`, zeroed; constants filled. `labels` are those of the table's rows, -1
    /// where there is none.
    #[must_use]
    pub fn new(program: Program, labels: &[i32], product: Product) -> Self {
        Self {
            product,
            places: Places::new(&program),
            label_table: labels.to_vec(),
            latents: LatentTable::default(),
            scales: Vec::new(),
            labels: vec![-1; program.index_rows],
            terms: vec![T::of(0.0); Program::TERMS],
            program,
        }
    }

    /// Sets the buffer of that role, if the program has one; returns whether it has.
    pub fn set(&mut self, role: &Role, values: &[f32]) -> bool {
        self.adopt(role, values.iter().map(|&value| T::of(f64::from(value))).collect())
    }

    /// Makes `values` the buffer of that role, if the program has one; returns whether it has.
    pub fn adopt(&mut self, role: &Role, values: Vec<T>) -> bool {
        let buf = self.program.find(role);
        if let Some(buf) = buf {
            self.places.adopt(buf, values);
        }
        buf.is_some()
    }

    /// Takes the table of latents that the program gathers from.
    pub fn set_latents(&mut self, latents: LatentTable) {
        self.scales = latents.scales().iter().map(|scale| scale.to_f32()).collect();
        self.latents = latents;
    }

    /// The buffer of that role, if the program has one.
    #[must_use]
    pub fn get(&self, role: &Role) -> Option<&[T]> {
        self.program.find(role).map(|buf| self.at(buf))
    }

    /// Runs one step; returns its row of loss terms.
    pub fn run(&mut self, input: &StepInput) -> &[T] {
        self.terms.fill(<T as num_traits::Zero>::zero());
        let ops = std::mem::take(&mut self.program.ops);
        ops.iter().for_each(|op| self.op(op, input));
        self.program.ops = ops;
        &self.terms
    }

    fn at(&self, buf: Buf) -> &[T] {
        self.places.at(buf)
    }

    /// Takes the outputs out of their place while `work` reads inputs, so that nothing is copied.
    fn write<const N: usize>(&mut self, outputs: [Buf; N], work: impl FnOnce(&Self, [&mut [T]; N])) {
        let mut taken = self.places.take(outputs);
        work(self, taken.each_mut().map(|(values, len)| &mut values[..*len]));
        self.places.put(outputs, taken);
    }

    #[allow(clippy::too_many_lines, reason = "one arm an op, in the order of the enum")]
    fn op(&mut self, op: &Op, input: &StepInput) {
        match *op {
            Op::GatherRows { table, first: from, x, shape: [rows, columns], .. } => {
                self.write([x], |this, [x]| {
                    parallel::rows(&mut x[..rows * columns], columns, |first, rows| {
                        batch::gather_rows(columns, this.at(table), &input.index[from + first..], rows);
                    });
                });
            }
            Op::GatherCodes { first: from, x, shape: [rows, positions, channels], .. } => {
                self.write([x], |this, [x]| {
                    let (codes, scales) = (this.latents.codes(), &this.scales);
                    let x = &mut x[..rows * positions * channels];
                    parallel::rows(x, positions * channels, |first, x| {
                        let index = &input.index[from + first..];
                        batch::gather_codes([positions, channels], codes, scales, index, x);
                    });
                });
            }
            Op::GatherLabels { first, rows } => {
                let (index, labels) = (&input.index[first..first + rows], &mut self.labels[..rows]);
                batch::gather_labels(&self.label_table, index, labels);
            }
            Op::Gemm { layout, shape, a, b, y, alpha, finish } => self.write([y.buf], |this, [out]| {
                this.product(layout, shape, [a, b], &mut out[y.start..], alpha, finish);
            }),
            Op::ColumnSum { g, out, shape: [rows, columns] } => self.write([out], |this, [out]| {
                parallel::column_sum(columns, &this.at(g)[..rows * columns], out);
            }),
            Op::Activate { len, activation, x, residual, y } => self.write([y], |this, [y]| {
                parallel::rows(&mut y[..len], 1, |first, y| {
                    let residual = residual.map(|residual| &this.at(residual)[first..]);
                    activate(activation, &this.at(x)[first..], residual, y);
                });
            }),
            Op::ActivateBackward { len, d_y, mask: Mask { activation, y }, d_x } => {
                self.write([d_x], |this, [d_x]| {
                    parallel::rows(&mut d_x[..len], 1, |first, d_x| {
                        activate_backward(activation, &this.at(d_y)[first..], &this.at(y)[first..], d_x);
                    });
                });
            }
            Op::DepthwiseForward { shape, activation, x, filters, y } => self.write([y], |this, [y]| {
                let (x, filters) = (this.at(x), filters.map(|buf| this.at(buf)));
                match this.product {
                    Product::Plain => convolution::depthwise_forward(&shape, activation, x, filters, y),
                    Product::Blocked(_) => depthwise::forward(&shape, activation, x, filters, y),
                }
            }),
            Op::DepthwiseBackwardInput { shape, d_y, weight, mask, d_x } => {
                self.write([d_x], |this, [d_x]| {
                    let ([d_y, weight], mask) = ([d_y, weight].map(|buf| this.at(buf)), this.mask(mask));
                    match this.product {
                        Product::Plain => {
                            convolution::depthwise_backward_input(&shape, d_y, weight, mask, d_x);
                        }
                        Product::Blocked(_) => depthwise::backward_input(&shape, d_y, weight, mask, d_x),
                    }
                });
            }
            Op::DepthwiseBackwardWeight { shape, d_y, x, d_filters } => {
                self.write(d_filters, |this, d_filters| {
                    let [d_y, x] = [d_y, x].map(|buf| this.at(buf));
                    match this.product {
                        Product::Plain => convolution::depthwise_backward_weight(&shape, d_y, x, d_filters),
                        Product::Blocked(_) => depthwise::backward_weight(&shape, d_y, x, d_filters),
                    }
                });
            }
            Op::AverageForward { shape: [images, positions, channels], x, y } => {
                self.write([y], |this, [y]| {
                    parallel::rows(&mut y[..images * channels], channels, |first, y| {
                        let x = &this.at(x)[first * positions * channels..];
                        pool::average_forward([y.len() / channels.max(1), positions, channels], x, y);
                    });
                });
            }
            Op::AverageBackward { shape: [images, positions, channels], d_y, mask, d_x } => {
                let image = positions * channels;
                self.write([d_x], |this, [d_x]| {
                    parallel::rows(&mut d_x[..images * image], image, |first, d_x| {
                        let mask = this.mask(mask).map(|(activation, x)| (activation, &x[first * image..]));
                        let (shape, d_y) = ([d_x.len() / image.max(1), positions, channels], this.at(d_y));
                        pool::average_backward(shape, &d_y[first * channels..], mask, d_x);
                    });
                });
            }
            Op::BatchNormForward { shape, settings, x, parameters, out } => {
                let [weight, bias, mean, var] = parameters;
                self.write([out[0], out[1], mean, var], |this, [y, stats, mean, var]| {
                    let affine = [this.at(weight), this.at(bias)];
                    normalize::batch_norm_forward(
                        shape,
                        &settings,
                        this.at(x),
                        affine,
                        y,
                        stats,
                        [mean, var],
                    );
                });
            }
            Op::BatchNormInference { shape: [_, columns], settings, x, parameters, y } => {
                self.write([y], |this, [y]| {
                    let parameters = parameters.map(|buf| this.at(buf));
                    normalize::batch_norm_inference(columns, &settings, this.at(x), parameters, y);
                });
            }
            Op::BatchNormBackward { shape, trace, weight, d_x, d_affine: [d_weight, d_bias] } => {
                self.write([d_x, d_weight, d_bias], |this, [d_x, d_weight, d_bias]| {
                    let [d_y, x, weight, stats] =
                        [trace.d_y, trace.x, weight, trace.stats].map(|buf| this.at(buf));
                    let mask = trace.mask.map(|buf| this.at(buf));
                    let (affine, sums) = ([d_weight, d_bias], &mut vec![T::of(0.0); 2 * weight.len()]);
                    normalize::batch_norm_backward(shape, d_y, x, mask, weight, stats, d_x, affine, sums);
                });
            }
            Op::LayerNormForward { shape: [_, columns], settings, x, affine, out } => {
                self.write(out, |this, [y, stats]| {
                    let affine = affine.map(|buf| this.at(buf));
                    normalize::layer_norm_forward(columns, &settings, this.at(x), affine, y, stats);
                });
            }
            Op::LayerNormBackward { shape: [_, columns], trace, weight, d_x } => {
                self.write([d_x], |this, [d_x]| {
                    let [d_y, x, weight, stats] =
                        [trace.d_y, trace.x, weight, trace.stats].map(|buf| this.at(buf));
                    let mask = trace.mask.map(|buf| this.at(buf));
                    normalize::layer_norm_backward(columns, d_y, x, mask, weight, stats, d_x);
                });
            }
            Op::LayerNormBackwardAffine { shape: [_, columns], trace, d_affine } => {
                self.write(d_affine, |this, d_affine| {
                    let [d_y, x, stats] = [trace.d_y, trace.x, trace.stats].map(|buf| this.at(buf));
                    let mask = trace.mask.map(|buf| this.at(buf));
                    normalize::layer_norm_backward_affine(columns, d_y, x, mask, stats, d_affine);
                });
            }
            Op::L2Forward { shape: [_, columns], eps, x, y, norm } => {
                self.write([y, norm], |this, [y, norm]| {
                    parallel::rows2((y, columns), (norm, 1), |first, y, norm| {
                        normalize::l2_forward(columns, eps, &this.at(x)[first * columns..], y, norm);
                    });
                });
            }
            Op::L2Backward { shape: [_, columns], eps, d_y, y, norm, d_x } => {
                self.write([d_x], |this, [d_x]| {
                    parallel::rows(d_x, columns, |first, d_x| {
                        let [d_y, y] = [d_y, y].map(|buf| &this.at(buf)[first * columns..]);
                        normalize::l2_backward(columns, eps, d_y, y, &this.at(norm)[first..], d_x);
                    });
                });
            }
            Op::CrossEntropy { shape, views, weight, logits, loss, d_logits } => {
                let labels = classify::of_index(&input.index, &self.label_table);
                let factors = [weight, classify::inverse_labelled(views, shape[1], labels)];
                self.write([loss, d_logits], |this, [loss, d_logits]| {
                    let (logits, labels) = (this.at(logits), &this.labels);
                    classify::cross_entropy(shape, factors, logits, labels, loss, d_logits);
                });
            }
            Op::TargetCrossEntropy { shape, views, weight, logits, targets, loss, d_logits } => {
                let table = self.get(&Role::TargetWeights).unwrap_or_default();
                #[allow(clippy::cast_possible_truncation, reason = "weights come as f32")]
                let weights = classify::of_index(&input.index, table).map(|weight| weight.wide() as f32);
                let factors = [weight, classify::inverse_weight(views, weights)];
                self.write([loss, d_logits], |this, [loss, d_logits]| {
                    let (logits, targets) = (this.at(logits), targets.map(|buf| this.at(buf)));
                    classify::target_cross_entropy(shape, factors, logits, targets, loss, d_logits);
                });
            }
            Op::SoftLabel { settings, logits, teacher, loss, d_logits } => {
                self.write([loss, d_logits], |this, [loss, d_logits]| {
                    distill::soft_label(&settings, this.at(logits), this.at(teacher), loss, d_logits);
                });
            }
            Op::Cosine { shape, settings, p, z, loss, d_p } => {
                self.write([loss, d_p], |this, [loss, d_p]| {
                    distill::cosine(shape, &settings, this.at(p), this.at(z), loss, d_p);
                });
            }
            Op::Mse { shape, settings, r, o, loss, d_r } => self.write([loss, d_r], |this, [loss, d_r]| {
                distill::mse(shape, &settings, this.at(r), this.at(o), loss, d_r);
            }),
            Op::NtXent { half, settings, similarity, loss } => {
                self.write([loss, similarity], |_, [loss, s]| contrast::nt_xent(half, &settings, loss, s));
            }
            Op::InfoNce { settings, q, k, similarity, d_q, loss } => {
                self.write([similarity, d_q, loss], |this, [s, d_q, loss]| {
                    info_nce(&settings, [this.at(q), this.at(k)], [s, d_q, loss]);
                });
            }
            Op::RowLse { shape, s, lse } => {
                self.write([lse], |this, [lse]| contrast::row_lse(shape, this.at(s), lse));
            }
            Op::ColumnLse { shape, s, lse } => {
                self.write([lse], |this, [lse]| contrast::column_lse(shape, this.at(s), lse));
            }
            Op::Symmetric { rows, scale, weight, lse: [row_lse, column_lse], s, loss } => {
                self.write([loss, s], |this, [loss, s]| {
                    let (row_lse, column_lse) = (this.at(row_lse), this.at(column_lse));
                    contrast::symmetric(rows, [scale, weight], row_lse, column_lse, loss, s);
                });
            }
            Op::Variance { settings, z, centred, loss, d_z } => {
                self.write([centred, loss, d_z], |this, [centred, loss, d_z]| {
                    contrast::variance(&settings, this.at(z), centred, loss, d_z);
                });
            }
            Op::Correlation { width, settings, c, loss } => {
                self.write([loss, c], |_, [loss, c]| contrast::correlation(width, &settings, loss, c));
            }
            Op::TermSum { rows, len, slot, scale } => {
                let sum = reduce::term_sum(scale, &self.at(rows)[..len]);
                self.terms[slot as usize] += sum;
            }
            Op::ColumnDeviation { shape: [_, columns], z, deviation } => {
                self.write([deviation], |this, [deviation]| {
                    reduce::column_deviation(this.at(z), &mut vec![T::of(0.0); columns], deviation);
                });
            }
            Op::SquareSum { x, len, out, at } => {
                let square = parallel::square_sum(&self.at(x)[..len]);
                self.places.at_mut(out)[at] = square;
            }
            Op::NonFinite { x, len, slot } => {
                let count = reduce::nonfinite(&self.at(x)[..len]);
                self.terms[slot as usize] += T::of(real(count));
            }
            Op::Sgd { settings, rate, grad, weight, velocity, .. } => {
                self.write([weight, velocity], |this, [w, v]| {
                    parallel::rows2((w, 1), (v, 1), |first, w, v| {
                        optim::sgd(input.rate(rate), &settings, &this.at(grad)[first..], w, v);
                    });
                });
            }
            Op::Lars { settings, rate, norms, grad, state, .. } => self.write(state, |this, [w, v]| {
                let squares = [this.at(norms)[0], this.at(norms)[1]];
                parallel::rows2((w, 1), (v, 1), |first, w, v| {
                    optim::lars(input.rate(rate), &settings, squares, &this.at(grad)[first..], w, v);
                });
            }),
            Op::AdamW { settings, rate, grad, state, .. } => self.write(state, |this, state| {
                let (rate, corrections) = (input.rate(rate), settings.corrections(input.step));
                parallel::elements3(state, |first, state| {
                    optim::adamw(rate, &settings, corrections, &this.at(grad)[first..], state);
                });
            }),
            Op::Ema { online, copy, .. } => self.write([copy], |this, [copy]| {
                parallel::rows(copy, 1, |first, copy| {
                    optim::ema(input.momentum_decay, &this.at(online)[first..], copy);
                });
            }),
            Op::Enqueue { keys, first_row, shape: [rows, columns], queue, .. } => {
                self.write([queue], |this, [queue]| {
                    let keys = &this.at(keys)[first_row * columns..(first_row + rows) * columns];
                    batch::enqueue(columns, input.queue_start, keys, queue);
                });
            }
        }
    }

    fn mask(&self, mask: Option<Mask>) -> Option<(Activation, &[T])> {
        mask.map(|Mask { activation, y }| (activation, self.at(y)))
    }

    fn product(
        &self,
        layout: Layout,
        shape: [usize; 3],
        operands: [Span; 2],
        y: &mut [T],
        alpha: f64,
        finish: Finish,
    ) {
        let alpha = T::of(alpha);
        let optional = |buf: Option<Buf>| buf.map(|buf| self.at(buf));
        let epilogue = match finish {
            Finish::Replace { bias, residual, activation, mask } => Epilogue {
                alpha,
                bias: optional(bias),
                residual: optional(residual),
                activation,
                mask: self.mask(mask),
                accumulate: false,
            },
            Finish::Add => Epilogue { alpha, accumulate: true, ..Epilogue::none() },
        };
        let [a, b] = operands.map(|span| &self.at(span.buf)[span.start..]);
        match self.product {
            Product::Plain => gemm(layout, shape, a, b, y, &epilogue),
            Product::Blocked(threads) => product::blocked(layout, shape, a, b, y, &epilogue, threads),
        }
    }
}
