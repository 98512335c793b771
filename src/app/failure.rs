//! What is said of an error that ends a command.

use std::io::ErrorKind;

/// The error with its causes, but for those that it names itself, and the way out of a full disk.
pub(super) fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain() {
        let reason = cause.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
    }
    let is_full =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(is_full)) {
        text.push_str("; make room there or name another folder");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::Error;

    use super::*;

    #[test]
    fn a_reason_is_said_once_and_a_full_disk_with_the_way_out() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let said = sentence(&Error::io("/media/card/report.json")(full).into());
        assert_eq!(said.matches("no storage space").count(), 1, "{said}");
        assert!(said.contains("/media/card/report.json") && said.ends_with("name another folder"), "{said}");
        let missing = std::io::Error::from(ErrorKind::NotFound);
        let said = sentence(&anyhow::Error::new(missing).context("the camera"));
        assert_eq!(said, "the camera: entity not found");
    }
}
