//! Reads of the state that several clients share: while one is being made, others that ask for the
//! same wait for its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use super::error::ApiError;

/// The reads that are being made.
#[derive(Default)]
pub(super) struct SharedReads(Mutex<HashMap<String, Weak<OnceCell<Bytes>>>>);

impl SharedReads {
    /// Returns the result of the read with this `key` that is being made, or makes it with `read`.
    /// A result is dropped once nobody waits for it any more.
    pub(super) async fn join(
        &self,
        key: String,
        read: impl Future<Output = Result<Bytes, ApiError>>,
    ) -> Result<Bytes, ApiError> {
        let cell = {
            let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reads.retain(|_, read| read.strong_count() > 0);
            let made = reads.get(&key).and_then(Weak::upgrade).unwrap_or_default();
            reads.insert(key, Arc::downgrade(&made));
            made
        };
        cell.get_or_try_init(|| read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn reads_of_one_key_at_the_same_time_are_made_once_and_later_ones_anew() {
        let (reads, made) = (SharedReads::default(), AtomicUsize::new(0));
        let ask = async |key: &str| {
            let read = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Bytes::from(made.fetch_add(1, Ordering::SeqCst).to_string()))
            };
            reads.join(key.to_owned(), read).await.unwrap()
        };
        let (a, b, other) = tokio::join!(ask("a"), ask("a"), ask("b"));
        assert!(a == b && a != other && made.load(Ordering::SeqCst) == 2, "{a:?} {b:?} {other:?}");
        assert_eq!(ask("a").await, "2");
        let failing = async { Err(ApiError::stopping()) };
        assert!(reads.join("a".to_owned(), failing).await.is_err());
        assert_eq!(ask("a").await, "3", "a failure is not kept");
    }
}
