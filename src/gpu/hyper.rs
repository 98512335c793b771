//! What changes from step to step, as `common/hyper.wgsl` declares it.

/// One step's values; [`crate::gpu::Plan::run`] takes one per step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Hyper {
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
    /// Padding.
    #[doc(hidden)]
    pub _pad0: u32,
    /// Padding.
    #[doc(hidden)]
    pub _pad1: u32,
}

impl AsRef<[u8]> for Hyper {
    fn as_ref(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::testing::{fields, layout_fault};

    #[test]
    fn hyper_has_the_layout_of_the_shaders() {
        let members = fields!(Hyper: step, index_start, term_start, queue_start, learning_rate, classifier_rate,
            momentum_decay, inverse_labelled, adam_correction1, adam_correction2);
        let fault = |kernel| layout_fault(kernel, "hyper", size_of::<Hyper>(), members);
        assert_eq!(fault("optim/sgd"), None);
        assert!(size_of::<Hyper>() <= crate::gpu::HYPER_STRIDE_BYTES as usize);
    }
}
