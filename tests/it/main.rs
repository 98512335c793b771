//! Integration tests, one binary: modules by what a user would call the thing.

mod golden;
mod support;
mod training;
