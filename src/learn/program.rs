//! One training step written down: buffers and kernel calls in order. Each engine runs the same
//! list, the CPU one by calling definitions and products, the GPU one by recording it once into a
//! plan. It is data, not a tensor library: no shapes are inferred and no gradient is derived, both
//! are written by hand in `step`.

use crate::Error;
use crate::learn::op::{Buf, Op};

/// What a buffer holds and how long it lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// A tensor of the training state by name: it survives the step and is part of a snapshot.
    State(String),
    /// Gradient of the state tensor of that name.
    Gradient(String),
    /// What the extractor takes of task and replay (features or latents), `[S, I]`, fixed for the
    /// task.
    Table,
    /// Soft targets of the table's rows, `[S, C]`.
    Targets,
    /// Weights of the soft targets, `[S]`.
    TargetWeights,
    /// A constant in every element, never written.
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

impl Program {
    /// Width of a step's row of loss terms; a multiple of 8, so that a row is 32-byte aligned.
    pub const TERMS: usize = 8;

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

    /// The state tensor of that name, made at first use.
    pub fn state(&mut self, name: impl Into<String>, len: usize) -> Buf {
        self.shared(Role::State(name.into()), len)
    }

    /// The gradient of the state tensor of that name, made at first use.
    pub fn gradient(&mut self, name: impl Into<String>, len: usize) -> Buf {
        self.shared(Role::Gradient(name.into()), len)
    }

    /// A scratch buffer.
    pub fn scratch(&mut self, len: usize) -> Buf {
        self.buffer(Role::Scratch, len)
    }

    /// Adds an op.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }
}

impl Role {
    /// The error of a program that has no such buffer.
    pub(super) fn missing(&self) -> Error {
        Error::not_found("buffer", format!("{self:?}"), "the loaded program does not use it")
    }
}
