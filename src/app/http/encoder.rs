//! Frames as JPEG for the live stream, encoded once for all viewers and only while there is one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use jpeg_encoder::{ColorType, Encoder};

use super::web::{Picture, Web};
use crate::vision::Frame;

const QUALITY: u8 = 80;
/// The name of the boundary between two parts of the stream.
pub(super) const BOUNDARY: &str = "kaizen-frame";

/// Encodes each newest frame while somebody watches.
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

/// The line between two parts of the stream.
pub(super) fn boundary() -> String {
    format!("--{BOUNDARY}\r\n")
}

/// One part of the multipart stream; none for a frame too large for JPEG. The boundary after it
/// tells a browser that the picture is complete; else it would be shown only with the next one.
fn part(frame: &Frame) -> Option<Bytes> {
    let (width, height) = (u16::try_from(frame.width).ok()?, u16::try_from(frame.height).ok()?);
    let mut jpeg = Vec::with_capacity(frame.rgb.len() / 8);
    Encoder::new(&mut jpeg, QUALITY).encode(&frame.rgb, width, height, ColorType::Rgb).ok()?;
    let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    Some([head.as_bytes(), &jpeg, b"\r\n", boundary().as_bytes()].concat().into())
}
