//! Host side of the kernels: one file per family, equal in stem to `shaders/<family>/` and `reference::<family>`.

pub mod batch;
pub mod classify;
pub mod contrast;
pub mod distill;
pub mod linear;
pub mod normalize;
pub mod optim;
pub mod reduce;

/// `("family/kernel", source)` of every kernel, family by family.
pub const SOURCES: &[&[(&str, &str)]] = &[
    batch::SOURCES,
    classify::SOURCES,
    contrast::SOURCES,
    distill::SOURCES,
    linear::SOURCES,
    normalize::SOURCES,
    optim::SOURCES,
    reduce::SOURCES,
];
