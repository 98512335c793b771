//! One frame at a time through the backbone.

use ndarray::ArrayView4;

use crate::backbone::Backbone;
use crate::vision::{Frame, Preprocess};
use crate::{Error, Result};

/// A backbone with what it needs before it.
pub(super) struct Eye {
    backbone: Box<dyn Backbone>,
    preprocess: Preprocess,
    image: Vec<f32>,
    side: usize,
}

impl Eye {
    pub(super) fn new(backbone: Box<dyn Backbone>) -> Result<Self> {
        let spec = backbone.spec();
        let side = spec.input_size;
        let preprocess = Preprocess::new(u32::try_from(side).unwrap_or(u32::MAX), spec.mean, spec.std)?;
        Ok(Self { backbone, preprocess, image: vec![0.0; 3 * side * side], side })
    }

    /// Rows and columns that the backbone takes.
    pub(super) fn side(&self) -> u32 {
        u32::try_from(self.side).unwrap_or(u32::MAX)
    }

    /// Features `[D]` of one frame.
    pub(super) fn embed(&mut self, frame: &Frame) -> Result<Vec<f32>> {
        self.preprocess.run(frame, &mut self.image)?;
        let shape = (1, 3, self.side, self.side);
        let images = ArrayView4::from_shape(shape, &self.image)
            .map_err(|e| Error::shape("image", shape, e.to_string()))?;
        Ok(self.backbone.embed(images)?.into_raw_vec_and_offset().0)
    }
}
