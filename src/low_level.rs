//! The parts below the front door: backbones, engines, kernels, closed forms, the state file. They
//! are what `kaizen-bench` and the tests are made of, and what to reach for when the learner does
//! not fit. They may change in any release.

/// ONNX backbones, who runs them, and the manifest that lists them.
pub mod backbone {
    pub use crate::backbone::{
        Backbone, BackboneOptions, BackboneSpec, Channels, Layout, Precision, Provider, ProviderAttempt,
        ProviderReport, find_onnx_runtime, load, resolve,
    };
    #[cfg(feature = "tract")]
    pub use crate::backbone::{run_in_onnx_runtime, run_in_tract};
}

/// The cut of a backbone into trunk and trainable tail.
#[cfg(feature = "tract")]
pub mod cut {
    pub use crate::cut::Cut;
}

/// Export of a published head as ONNX.
#[cfg(feature = "tract")]
pub mod export {
    pub use crate::export::{Classifier, Scorer, classifier_alone};
}

/// The words for an error.
pub mod error {
    pub use crate::error::sentence;
}

/// Where events go.
pub mod event {
    pub use crate::event::{Discard, EventSink};
}

/// Files that are either whole or untouched.
pub mod file {
    pub use crate::file::write_atomic;
}

/// The GPU device.
pub mod gpu {
    pub use crate::gpu::Device;
}

/// Latents in 8 bits.
pub mod latent {
    pub use crate::latent::LatentTable;
}

/// Named parameters with shapes, and the parts that they belong to.
pub mod heads {
    pub use crate::heads::{
        Architecture, Extractor, Layer, MapShape, Mlp, Node, NodeOp, Norm, Parameters, Tail, Tensor,
    };
}

/// The objective, the training step, both engines, the trainer that feeds them, and the closed
/// forms.
pub mod learn {
    pub use crate::learn::engine_choice::open as open_engine;
    pub use crate::learn::inference;

    /// Classifiers solved rather than trained.
    pub mod closed_form {
        pub use crate::learn::closed_form::{
            ClassMeans, Ensemble, EnsembleHead, EnsembleModel, EnsembleSettings, Evidence, FeatureMap,
            FeatureTransform, LdaSettings, LinearHead, MeanDistance, Responsibilities, RidgeHead,
            StreamingLda, argmax_rows, distinct, softmax_rows,
        };
    }

    /// Programs in plain Rust.
    pub mod cpu {
        pub use crate::learn::cpu::{CpuEngine, Interpreter, Product};
    }

    /// The engine trait with its problem, inputs and losses.
    pub mod engine {
        pub use crate::learn::engine::{Engine, Problem, StepInput, Table, Targets, Terms};
    }

    /// Programs in compute shaders.
    pub mod gpu {
        pub use crate::learn::gpu::{GpuEngine, Run};
    }

    /// The losses and their weights.
    pub mod objective {
        pub use crate::learn::objective::{ClassifierGradient, CopyNorm, Objective, SslMethod};
    }

    /// The operations that a step is made of.
    pub mod op {
        pub use crate::learn::op::{Finish, Mask, Op, RateGroup, Slot};
    }

    /// A list of operations and the slots that they work on.
    pub mod program {
        pub use crate::learn::program::{Program, Role};
    }

    /// The training step as a program.
    pub mod step {
        pub use crate::learn::step::{
            StepSpec, distillation_program, extractor_program, mlp_program, ssl_program, step_program,
        };
    }

    /// Steps over samples.
    pub mod trainer {
        pub use crate::learn::trainer::{Recipe, Samples, Target, Trainer, take_teacher};
    }

    /// Optimisers.
    pub mod update {
        pub use crate::learn::update::{ExtractorTraining, Optimizer, Trains};
    }
}

/// The definition of every loss and layer in plain loops; both engines are checked against it.
pub mod reference {
    pub use crate::reference::Real;
    pub use crate::reference::activation::Activation;
    pub use crate::reference::contrast::InfoNce;
    pub use crate::reference::convolution::Depthwise;
    pub use crate::reference::distill::{COSINE_EPS, Cosine, Mse, SoftLabel};
    pub use crate::reference::linear::Layout;
    pub use crate::reference::normalize::L2_EPS;
    pub use crate::reference::optim::{AdamW, LARS_EPS, Lars, Sgd};
}

/// The state file.
pub mod memory {
    pub use crate::memory::{
        BackupReport, FeatureIdentity, Memory, Removal, Rows, Sample, Stored, StoredSample,
    };
}

/// Text that may be shown.
pub mod shown {
    pub use crate::error::redacted;
}

/// Conversions of numbers.
pub mod number {
    pub use crate::number::{hex, real, sha256_hex};
}

/// The only randomness.
pub mod rng {
    pub use crate::rng::Rng;
}

/// The learner on features, and what it is made of.
pub mod session {
    pub use crate::session::{
        Embedded, Embedder, Embedding, EngineSlot, FeatureLearner, Inputs, LearnerSettings, MemoryLimit,
        Network, PublishedHead, ServingHead, TrainingControl, identity, usual_share,
    };
}

/// Frames and where they come from.
pub mod vision {
    pub use crate::vision::{
        Augmentation, DEFAULT_MAX_PIXELS, FrameSource, Preprocess, SourceOptions, is_picture, open, read,
    };
}
