//! The program in the making, and the ops that several parts of a step add to it.

use super::layers::Pass;
use super::spec::StepSpec;
use crate::learn::objective::CopyNorm;
use crate::learn::op::{Buf, Finish, Op, Slot, Span};
use crate::learn::program::{Program, Role};
use crate::number::real;
use crate::reference::linear::Layout;
use crate::reference::normalize::L2_EPS;

/// A program in the making.
pub(super) struct Writer<'a> {
    pub spec: &'a StepSpec<'a>,
    pub program: Program,
    /// Rows of the stacked batch, 2N.
    pub m: usize,
    /// Width P of projections.
    pub p: usize,
    /// MoCo's unit keys, enqueued at the end.
    pub keys: Option<Buf>,
    /// Element of a step's index at which the part of the batch begins.
    pub first: usize,
    /// Parts of the batch.
    pub parts: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(spec: &'a StepSpec<'a>) -> Self {
        let (m, p) = (2 * spec.rows, spec.architecture.projector.outputs());
        Self {
            spec,
            program: Program { index_rows: m, ..Program::default() },
            m,
            p,
            keys: None,
            first: 0,
            parts: 1,
        }
    }

    /// A writer for part `number` of a batch, which goes on with `program`.
    pub(super) fn part(spec: &'a StepSpec<'a>, program: Program, number: usize) -> Self {
        let whole = Self::new(spec);
        Self { program, first: number * whole.m, parts: spec.micro_batches, ..whole }
    }

    /// A pass of both views through a copy's layers: `""`, `teacher.` or `momentum.`.
    pub(super) fn pass(&self, prefix: &'static str, norm: CopyNorm) -> Pass<'static> {
        Pass { prefix, rows: self.m, groups: 2, norm }
    }

    pub(super) fn student(&self) -> Pass<'static> {
        self.pass("", CopyNorm::Batch)
    }

    /// Scratch for both views' projections.
    pub(super) fn projections(&mut self) -> Buf {
        self.program.scratch(self.m * self.p)
    }

    /// The part of `buf`, rows of `width`, that is view `v`'s.
    pub(super) fn view(&self, buf: Buf, v: usize, width: usize) -> Span {
        Span { buf, start: v * self.spec.rows * width }
    }

    /// Copies the batch's rows out of the table and finds their labels; returns the extractor's
    /// input. Soft targets are gathered where the classifier's term needs them.
    pub(super) fn gather(&mut self) -> Buf {
        let input = self.spec.architecture.extractor.input;
        let x = if self.spec.has_latents {
            let (rows, table_rows, first) = (self.m, self.spec.table_rows, self.first);
            let x = self.program.scratch(rows * input.elements());
            let shape = [rows, input.positions(), input.channels];
            self.program.push(Op::GatherCodes { table_rows, first, x, shape });
            x
        } else {
            self.gather_from(Role::Table, input.elements())
        };
        if !self.spec.has_soft_targets {
            self.program.push(Op::GatherLabels { first: self.first, rows: self.m });
        }
        x
    }

    /// The batch's rows of the table of that role.
    pub(super) fn gather_from(&mut self, role: Role, columns: usize) -> Buf {
        let (rows, table_rows, first) = (self.m, self.spec.table_rows, self.first);
        let table = self.program.shared(role, table_rows * columns);
        let x = self.program.scratch(rows * columns);
        self.program.push(Op::GatherRows { table, table_rows, first, x, shape: [rows, columns] });
        x
    }

    /// The gradient buffer of u and how to finish a product into it: the first writer replaces,
    /// later ones add.
    pub(super) fn feature_gradient(&mut self, d_u: &mut Option<Buf>) -> (Buf, Finish) {
        let finish = if d_u.is_some() { Finish::Add } else { Finish::PLAIN };
        let len = self.m * self.spec.architecture.features();
        (*d_u.get_or_insert_with(|| self.program.scratch(len)), finish)
    }

    /// `terms[slot] += scale * sum(rows)`, a mean over the parts of the batch.
    pub(super) fn term(&mut self, rows: Buf, len: usize, slot: Slot, scale: f64) {
        let scale = scale / real(self.parts);
        self.program.push(Op::TermSum { rows, len, slot, scale });
    }

    pub(super) fn product(
        &mut self,
        layout: Layout,
        shape: [usize; 3],
        a: impl Into<Span>,
        b: impl Into<Span>,
        y: impl Into<Span>,
        alpha: f64,
        finish: Finish,
    ) {
        let (a, b, y) = (a.into(), b.into(), y.into());
        self.program.push(Op::Gemm { layout, shape, a, b, y, alpha, finish });
    }

    /// `[y, norm]` with `y = x / max(|x|, eps)` row by row.
    pub(super) fn unit_rows(&mut self, x: Buf) -> [Buf; 2] {
        let (y, norm) = (self.projections(), self.program.scratch(self.m));
        self.program.push(Op::L2Forward { shape: [self.m, self.p], eps: L2_EPS, x, y, norm });
        [y, norm]
    }

    /// The gradient of the rows under [`Writer::unit_rows`].
    pub(super) fn unit_backward(&mut self, [y, norm]: [Buf; 2], d_y: Buf) -> Buf {
        let d_x = self.projections();
        self.program.push(Op::L2Backward { shape: [self.m, self.p], eps: L2_EPS, d_y, y, norm, d_x });
        d_x
    }

    /// Mean per-dimension deviation of unit rows: near 1/sqrt(P) in health, near 0 in collapse.
    pub(super) fn watch_collapse(&mut self, unit: Buf) {
        let deviation = self.program.scratch(self.p);
        self.program.push(Op::ColumnDeviation { shape: [self.m, self.p], z: unit, deviation });
        self.term(deviation, self.p, Slot::Deviation, 1.0 / real(self.p));
    }
}
