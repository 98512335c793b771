//! Integration tests, one binary: modules by what a user would call the thing.

mod camera_stream;
mod golden;
mod stream;
mod support;
mod training;
