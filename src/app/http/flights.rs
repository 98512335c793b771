//! Reads that several clients ask for at once, and that are made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use super::error::ApiError;

/// The reads that are being made.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Weak<OnceCell<Bytes>>>>);

impl Flights {
    /// The answer of the read that `key` names: of the one that is being made, or of `read`. An
    /// answer is gone once nobody waits for it any more.
    pub(super) async fn join(
        &self,
        key: String,
        read: impl Future<Output = Result<Bytes, ApiError>>,
    ) -> Result<Bytes, ApiError> {
        let cell = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|_, flight| flight.strong_count() > 0);
            let made = flights.get(&key).and_then(Weak::upgrade).unwrap_or_default();
            flights.insert(key, Arc::downgrade(&made));
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
    async fn what_is_asked_for_at_once_is_read_once_and_later_anew() {
        let (flights, made) = (Flights::default(), AtomicUsize::new(0));
        let ask = async |key: &str| {
            let read = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Bytes::from(made.fetch_add(1, Ordering::SeqCst).to_string()))
            };
            flights.join(key.to_owned(), read).await.unwrap()
        };
        let (a, b, other) = tokio::join!(ask("a"), ask("a"), ask("b"));
        assert!(a == b && a != other && made.load(Ordering::SeqCst) == 2, "{a:?} {b:?} {other:?}");
        assert_eq!(ask("a").await, "2");
        let failing = async { Err(ApiError::stopping()) };
        assert!(flights.join("a".to_owned(), failing).await.is_err());
        assert_eq!(ask("a").await, "3", "a failure is not kept");
    }
}
