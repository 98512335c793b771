//! Limits on how often something may happen.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// A limit that all callers share; its `check` fails for what comes too soon.
pub(super) type Limiter = DefaultDirectRateLimiter;

/// A limit of `rate` a second on average and `burst` at once.
pub(super) fn limiter(rate: u32, burst: u32) -> Limiter {
    let number = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(number(rate)).allow_burst(number(burst)))
}
