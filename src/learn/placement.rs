//! Where the buffers of a program lie: scratch buffers whose lives do not overlap share a place, so
//! that a step holds the activations that its backward pass reads and little else.

use crate::learn::op::{Buf, Finish, Mask, NormTrace, Op};
use crate::learn::program::{Program, Role};

/// A place for each buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The place of each buffer.
    pub(super) place_of: Vec<usize>,
    /// Elements of each place: those of the largest buffer that lies there.
    pub(super) lens: Vec<usize>,
}

impl Placement {
    /// Bytes of all places.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.lens.iter().map(|&len| size_of::<f32>() as u64 * len as u64).sum()
    }

    /// Places the buffers of `program`. Scratch buffers share places; all others have one of their
    /// own.
    #[must_use]
    pub(super) fn of(program: &Program) -> Self {
        let mut lives: Vec<Option<[usize; 2]>> = vec![None; program.buffers.len()];
        for (at, op) in program.ops.iter().enumerate() {
            for Buf(buffer) in touched(op) {
                lives[buffer].get_or_insert([at, at])[1] = at;
            }
        }
        let mut placement = Self { place_of: vec![usize::MAX; program.buffers.len()], lens: Vec::new() };
        for (buffer, spec) in program.buffers.iter().enumerate() {
            if spec.role != Role::Scratch {
                placement.add(buffer, spec.len);
            }
        }
        // In the order of their births; each takes the smallest free place that it fits into, or
        // widens the largest.
        let mut born: Vec<_> = (0..lives.len())
            .filter(|&buffer| program.buffers[buffer].role == Role::Scratch)
            .filter_map(|buffer| Some((lives[buffer]?, buffer)))
            .collect();
        born.sort_unstable();
        let mut held: Vec<(usize, usize)> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for ([birth, death], buffer) in born {
            held.retain(|&(until, place)| {
                let is_held = until >= birth;
                if !is_held {
                    free.push(place);
                }
                is_held
            });
            let len = program.buffers[buffer].len;
            let fitting = free.iter().copied().filter(|&place| placement.lens[place] >= len);
            let best = fitting
                .min_by_key(|&place| (placement.lens[place], place))
                .or_else(|| free.iter().copied().max_by_key(|&place| (placement.lens[place], place)));
            let place = match best {
                Some(place) => {
                    free.retain(|&other| other != place);
                    placement.lens[place] = placement.lens[place].max(len);
                    placement.place_of[buffer] = place;
                    place
                }
                None => placement.add(buffer, len),
            };
            held.push((death, place));
        }
        // Scratch that nothing touches.
        for buffer in 0..placement.place_of.len() {
            if placement.place_of[buffer] == usize::MAX {
                placement.add(buffer, 0);
            }
        }
        placement
    }

    fn add(&mut self, buffer: usize, len: usize) -> usize {
        self.lens.push(len);
        self.place_of[buffer] = self.lens.len() - 1;
        self.lens.len() - 1
    }
}

/// The buffers that an op reads or writes.
fn touched(op: &Op) -> Vec<Buf> {
    let masked = |mask: Option<Mask>| mask.map(|Mask { y, .. }| y);
    let traced = |NormTrace { d_y, x, mask, stats }| [Some(d_y), Some(x), mask, Some(stats)];
    let of = |fixed: &[Buf], optional: &[Option<Buf>]| -> Vec<Buf> {
        fixed.iter().copied().chain(optional.iter().copied().flatten()).collect()
    };
    match *op {
        Op::GatherRows { table, x, .. } => of(&[table, x], &[]),
        Op::GatherCodes { x, .. } => vec![x],
        Op::GatherLabels { .. } => Vec::new(),
        Op::Gemm { a, b, y, finish, .. } => {
            let optional = match finish {
                Finish::Replace { bias, residual, mask, .. } => [bias, residual, masked(mask)],
                Finish::Add => [None; 3],
            };
            of(&[a.buf, b.buf, y.buf], &optional)
        }
        Op::ColumnSum { g, out, .. } => of(&[g, out], &[]),
        Op::Activate { x, residual, y, .. } => of(&[x, y], &[residual]),
        Op::ActivateBackward { d_y, mask, d_x, .. } => of(&[d_y, mask.y, d_x], &[]),
        Op::DepthwiseForward { x, filters: [weight, bias], y, .. } => of(&[x, weight, bias, y], &[]),
        Op::DepthwiseBackwardInput { d_y, weight, mask, d_x, .. } => of(&[d_y, weight, d_x], &[masked(mask)]),
        Op::DepthwiseBackwardWeight { d_y, x, d_filters: [d_weight, d_bias], .. } => {
            of(&[d_y, x, d_weight, d_bias], &[])
        }
        Op::AverageForward { x, y, .. } => of(&[x, y], &[]),
        Op::AverageBackward { d_y, mask, d_x, .. } => of(&[d_y, d_x], &[masked(mask)]),
        Op::BatchNormForward { x, parameters, out, .. } => [&[x], &parameters[..], &out[..]].concat(),
        Op::BatchNormInference { x, parameters, y, .. } => [&[x, y], &parameters[..]].concat(),
        Op::BatchNormBackward { trace, weight, d_x, d_affine: [d_weight, d_bias], .. } => {
            of(&[weight, d_x, d_weight, d_bias], &traced(trace))
        }
        Op::LayerNormForward { x, affine, out, .. } => [&[x], &affine[..], &out[..]].concat(),
        Op::LayerNormBackward { trace, weight, d_x, .. } => of(&[weight, d_x], &traced(trace)),
        Op::LayerNormBackwardAffine { trace, d_affine, .. } => of(&d_affine, &traced(trace)),
        Op::L2Forward { x, y, norm, .. } => of(&[x, y, norm], &[]),
        Op::L2Backward { d_y, y, norm, d_x, .. } => of(&[d_y, y, norm, d_x], &[]),
        Op::CrossEntropy { logits, loss, d_logits, .. } => of(&[logits, loss, d_logits], &[]),
        Op::TargetCrossEntropy { logits, targets: [targets, weights], loss, d_logits, .. } => {
            of(&[logits, targets, weights, loss, d_logits], &[])
        }
        Op::SoftLabel { logits, teacher, loss, d_logits, .. } => of(&[logits, teacher, loss, d_logits], &[]),
        Op::Cosine { p, z, loss, d_p, .. } => of(&[p, z, loss, d_p], &[]),
        Op::Mse { r, o, loss, d_r, .. } => of(&[r, o, loss, d_r], &[]),
        Op::NtXent { similarity, loss, .. } => of(&[similarity, loss], &[]),
        Op::InfoNce { q, k, similarity, d_q, loss, .. } => of(&[q, k, similarity, d_q, loss], &[]),
        Op::RowLse { s, lse, .. } | Op::ColumnLse { s, lse, .. } => of(&[s, lse], &[]),
        Op::Symmetric { lse: [rows, columns], s, loss, .. } => of(&[rows, columns, s, loss], &[]),
        Op::Variance { z, centred, loss, d_z, .. } => of(&[z, centred, loss, d_z], &[]),
        Op::Correlation { c, loss, .. } => of(&[c, loss], &[]),
        Op::TermSum { rows, .. } => vec![rows],
        Op::ColumnDeviation { z, deviation, .. } => of(&[z, deviation], &[]),
        Op::SquareSum { x, out, .. } => of(&[x, out], &[]),
        Op::NonFinite { x, .. } => vec![x],
        Op::Sgd { grad, weight, velocity, .. } => of(&[grad, weight, velocity], &[]),
        Op::Lars { norms, grad, state, .. } => [&[norms, grad], &state[..]].concat(),
        Op::AdamW { grad, state, .. } => [&[grad], &state[..]].concat(),
        Op::Ema { online, copy, .. } => of(&[online, copy], &[]),
        Op::Enqueue { keys, queue, .. } => of(&[keys, queue], &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::activation::Activation;

    fn chain(lens: &[usize]) -> Program {
        let mut program = Program::default();
        let bufs: Vec<_> = lens.iter().map(|&len| program.scratch(len)).collect();
        for pair in bufs.windows(2) {
            let (len, activation, residual) = (1, Activation::None, None);
            program.push(Op::Activate { len, activation, x: pair[0], residual, y: pair[1] });
        }
        program
    }

    #[test]
    fn a_chain_of_scratch_takes_two_places() {
        let placement = Placement::of(&chain(&[4, 6, 5, 7, 3]));
        assert_eq!(placement.place_of, [0, 1, 0, 1, 0]);
        assert_eq!(placement.lens, [5, 7]);
    }

    #[test]
    fn lives_that_overlap_and_what_outlives_a_step_share_nothing() {
        let mut program = chain(&[4, 4, 4, 4]);
        let state = program.state("weight", 4);
        let [first, last] = [Buf(0), Buf(3)];
        let (len, activation) = (4, Activation::None);
        program.push(Op::Activate { len, activation, x: last, residual: Some(first), y: state });
        let idle = program.scratch(9);
        let placement = Placement::of(&program);
        let places: std::collections::BTreeSet<_> = [0, 1, 2].map(|b| placement.place_of[b]).into();
        assert_eq!(places.len(), 3, "{placement:?}");
        assert_eq!(placement.place_of[1], placement.place_of[3]);
        assert!(
            placement.place_of.iter().filter(|place| **place == placement.place_of[state.0]).count() == 1
        );
        assert_eq!(placement.lens[placement.place_of[idle.0]], 0);
    }
}
