//! The buffers of a program in memory, each in its place.

use crate::learn::op::Buf;
use crate::learn::placement::Placement;
use crate::learn::program::{Program, Role};
use crate::reference::Real;

/// Values of a program's buffers.
#[derive(Debug)]
pub(super) struct Places<T> {
    /// Values of each place; those of the longest buffer that lies there.
    values: Vec<Vec<T>>,
    /// Place and length of each buffer.
    buffers: Vec<(usize, usize)>,
}

impl<T: Real> Places<T> {
    /// Buffers of `program`, zeroed; constants filled.
    pub(super) fn new(program: &Program) -> Self {
        let placement = Placement::of(program);
        let mut values: Vec<_> = placement.lens.iter().map(|&len| vec![T::zero(); len]).collect();
        for (spec, &place) in program.buffers.iter().zip(&placement.place_of) {
            if let Role::Constant(value) = spec.role {
                values[place].fill(T::of(value));
            }
        }
        let lens = program.buffers.iter().map(|spec| spec.len);
        Self { values, buffers: placement.place_of.into_iter().zip(lens).collect() }
    }

    pub(super) fn at(&self, buf: Buf) -> &[T] {
        let (place, len) = self.buffers[buf.0];
        &self.values[place][..len]
    }

    pub(super) fn at_mut(&mut self, buf: Buf) -> &mut [T] {
        let (place, len) = self.buffers[buf.0];
        &mut self.values[place][..len]
    }

    /// Makes `values` those of a buffer.
    pub(super) fn adopt(&mut self, buf: Buf, values: Vec<T>) {
        self.values[self.buffers[buf.0].0] = values;
    }

    /// Takes buffers out of their places, with the length of each.
    pub(super) fn take<const N: usize>(&mut self, bufs: [Buf; N]) -> [(Vec<T>, usize); N] {
        bufs.map(|buf| {
            let (place, len) = self.buffers[buf.0];
            (std::mem::take(&mut self.values[place]), len)
        })
    }

    /// Puts back what [`Places::take`] gave.
    pub(super) fn put<const N: usize>(&mut self, bufs: [Buf; N], taken: [(Vec<T>, usize); N]) {
        for (buf, (values, _)) in bufs.into_iter().zip(taken) {
            self.adopt(buf, values);
        }
    }
}
