//! What changes from step to step, as `common/hyper.wgsl` declares it.

/// One step's values; [`Plan::run`](crate::gpu::Plan::run) takes one per step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::NoUninit)]
pub(crate) struct Hyper {
    /// Step inside this submit, from 0.
    pub step: u32,
    /// First element of this step's rows in the index buffer.
    pub index_start: u32,
    /// First element of this step's row in the loss-term buffer.
    pub term_start: u32,
    /// Queue row that the first new key goes to.
    pub queue_start: u32,
    /// Learning rate of everything but the classifier.
    pub learning_rate: f32,
    /// Learning rate of the classifier.
    pub classifier_rate: f32,
    /// Share τ of a momentum copy that stays.
    pub momentum_decay: f32,
    /// 1 / labelled rows of one view, 0 if there is none.
    pub inverse_labelled: f32,
    /// `1 - β₁ᵗ` of AdamW at step t, from 1.
    pub adam_correction1: f32,
    /// `1 - β₂ᵗ`.
    pub adam_correction2: f32,
    /// 1 / weights of one view's soft targets, 0 if they are all 0.
    pub inverse_weight: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::kernel::{Kernel, kernel};
    use crate::gpu::shader::{Composed, members};

    #[test]
    fn hyper_has_the_layout_of_the_shaders() {
        let module = Composed::new(&kernel!("optim/sgd")).unwrap().parse().unwrap();
        let mut variables = module.global_variables.iter();
        let (_, uniform) = variables.find(|(_, v)| v.name.as_deref() == Some("hyper")).unwrap();
        let declared = members("hyper", &module.types, uniform.ty).unwrap();
        let declared: Vec<_> = declared.iter().map(|m| (m.name.as_str(), m.offset, m.is_float)).collect();
        macro_rules! fields {
            ($($field:ident: $is_float:expr),+) => {
                [$((stringify!($field), std::mem::offset_of!(Hyper, $field), $is_float)),+]
            };
        }
        let fields = fields!(step: false, index_start: false, term_start: false, queue_start: false,
            learning_rate: true, classifier_rate: true, momentum_decay: true, inverse_labelled: true,
            adam_correction1: true, adam_correction2: true, inverse_weight: true);
        assert_eq!(declared, fields);
        let mut swapped = fields;
        swapped.swap(4, 5);
        assert_ne!(declared, swapped);
    }
}
