//! Frames as JPEG for the live stream: once for all who watch, and only while one does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use jpeg_encoder::{ColorType, Encoder};

use super::web::{Picture, Web};
use crate::vision::Frame;

const QUALITY: u8 = 80;
/// Between two parts of the stream.
pub(super) const BOUNDARY: &str = "kaizen-frame";

/// Encodes the newest frame whenever there is one and somebody watches.
pub(super) async fn run(web: Arc<Web>) {
    let mut seen = web.seen.subscribe();
    loop {
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            () = web.watched.notified() => {}
        }
        let Some(newest) = seen.borrow_and_update().clone().filter(|_| web.viewers() > 0) else { continue };
        let encoded = tokio::task::spawn_blocking(move || part(&newest.frame)).await;
        if let Ok(Some(part)) = encoded {
            web.encoded.fetch_add(1, Ordering::Relaxed);
            web.pictures.send_if_modified(|picture| {
                let is_on = !matches!(picture, Picture::End);
                if is_on {
                    *picture = Picture::Part(part);
                }
                is_on
            });
        }
    }
}

/// One part of the multipart stream; none for a frame too large for JPEG.
fn part(frame: &Frame) -> Option<Bytes> {
    let (width, height) = (u16::try_from(frame.width).ok()?, u16::try_from(frame.height).ok()?);
    let mut jpeg = Vec::with_capacity(frame.rgb.len() / 8);
    Encoder::new(&mut jpeg, QUALITY).encode(&frame.rgb, width, height, ColorType::Rgb).ok()?;
    let head = format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    let mut part = Vec::with_capacity(head.len() + jpeg.len() + 2);
    part.extend_from_slice(head.as_bytes());
    part.extend_from_slice(&jpeg);
    part.extend_from_slice(b"\r\n");
    Some(part.into())
}
