//! Integration tests, one binary: modules by what a user would call the thing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test that fails is a panic, and its figures are for people"
)]

#[cfg(all(feature = "serve", unix))]
mod access;
#[cfg(feature = "serve")]
mod browser;
mod camera_stream;
mod command_line;
#[cfg(all(feature = "serve", target_os = "linux"))]
mod connections;
mod crash;
mod damage;
mod data_sets;
mod doctor;
mod examples;
mod export;
#[cfg(all(feature = "serve", target_os = "linux"))]
mod footprint;
mod front_door;
mod golden;
#[cfg(feature = "serve")]
mod http_client;
mod kills;
mod learned_state;
#[cfg(all(feature = "serve", target_os = "linux"))]
mod liveness;
#[cfg(feature = "serve")]
mod load;
#[cfg(target_os = "linux")]
mod power_cut;
#[cfg(feature = "gstreamer")]
mod rtsp;
#[cfg(feature = "serve")]
mod serve;
mod state;
mod stream;
mod support;
#[cfg(all(feature = "serve", target_os = "linux"))]
mod synthetic;
mod tail;
mod tiny_model;
mod training;
mod unknowns;
#[cfg(all(feature = "serve", target_os = "linux"))]
mod week;
