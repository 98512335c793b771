//! Gradients of the parts of a batch, added up.

use std::collections::BTreeMap;

use crate::learn::op::{Buf, Op};
use crate::learn::program::{Program, Role};
use crate::reference::activation::Activation;

/// The gradients of the parts so far, by parameter, with their lengths.
#[derive(Default)]
pub(super) struct Gradients(BTreeMap<String, (usize, Vec<Buf>)>);

impl Gradients {
    /// Sets the gradients aside that the last part left, so that the next one writes its own.
    pub(super) fn set_aside(&mut self, program: &mut Program) {
        for (number, spec) in program.buffers.iter_mut().enumerate() {
            if let Role::Gradient(name) = &spec.role {
                let entry = self.0.entry(name.clone()).or_insert((spec.len, Vec::new()));
                entry.1.push(Buf(number));
                spec.role = Role::Scratch;
            }
        }
    }

    /// Adds each parameter's gradients up, in the order of the parts.
    pub(super) fn add_up(self, program: &mut Program) {
        for (name, (len, parts)) in self.0 {
            let mut parts = parts.into_iter();
            let Some(mut sum) = parts.next() else { continue };
            let count = parts.len();
            for (number, part) in parts.enumerate() {
                let is_last = number + 1 == count;
                let y = if is_last { program.gradient(name.clone(), len) } else { program.scratch(len) };
                let activation = Activation::None;
                program.push(Op::Activate { len, activation, x: sum, residual: Some(part), y });
                sum = y;
            }
        }
    }
}
