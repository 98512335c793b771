//! What one peer may take: connections, and wrong guesses of the token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most connections of a peer.
const MOST_OF_A_PEER: usize = 64;
/// The most connections of this machine itself: a TLS proxy on it stands for everybody.
const MOST_OF_LOOPBACK: usize = 224;
/// The most connections of all others together: some are left for this machine.
const MOST_OF_OTHERS: usize = 224;
/// The wrong guesses that a peer has at once.
const GUESSES: u32 = 10;
/// The time after which a peer has one more guess.
const REFILL: Duration = Duration::from_secs(2);
/// The most peers whose guesses are counted; with more of them at once, a new one has to wait.
const MOST_PEERS: usize = 10_000;

/// Whom a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Returns what stands for a peer: an IPv4 address, or the network of an IPv6 address, of which a
/// peer has as many addresses as it likes.
pub(super) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into())
        }
        other => other,
    }
}

/// The number of connections of each peer.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a peer, counted until it is dropped.
pub(super) struct Counted {
    connections: Connections,
    peer: IpAddr,
}

impl Connections {
    /// Counts a connection of `peer`; `None` if it has too many.
    pub(super) fn count(&self, peer: IpAddr) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize =
            counts.iter().filter(|(peer, _)| !peer.is_loopback()).map(|(_, count)| count).sum();
        if !peer.is_loopback() && MOST_OF_OTHERS <= others {
            return None;
        }
        let most = if peer.is_loopback() { MOST_OF_LOOPBACK } else { MOST_OF_A_PEER };
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { connections: self.clone(), peer })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// The wrong guesses of each peer. A peer that has none left is refused whatever it shows: the
/// answer to a right token would tell it apart from a wrong one.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<IpAddr, Wrong>>);

/// The wrong guesses of a peer that are not made good by time yet.
struct Wrong {
    count: u32,
    /// When the count began to fall.
    since: Instant,
}

impl Wrong {
    /// Takes one away for each span of time that has passed.
    fn settle(&mut self, now: Instant) {
        let spans = now.saturating_duration_since(self.since).as_secs() / REFILL.as_secs();
        let spans = u32::try_from(spans).unwrap_or(u32::MAX).min(self.count);
        self.count -= spans;
        self.since += REFILL * spans;
    }
}

impl Guesses {
    /// Whether `peer` may show a token.
    pub(super) fn may_try(&self, peer: IpAddr) -> bool {
        self.may_try_at(peer, Instant::now())
    }

    /// Counts a wrong token.
    pub(super) fn wrong(&self, peer: IpAddr) {
        self.wrong_at(peer, Instant::now());
    }

    fn may_try_at(&self, peer: IpAddr, now: Instant) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MOST_PEERS {
            peers.values_mut().for_each(|wrong| wrong.settle(now));
            peers.retain(|_, wrong| wrong.count > 0);
        }
        let is_full = peers.len() >= MOST_PEERS;
        peers.get_mut(&peer).map_or(!is_full, |wrong| {
            wrong.settle(now);
            wrong.count < GUESSES
        })
    }

    fn wrong_at(&self, peer: IpAddr, now: Instant) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = peers.entry(peer).or_insert(Wrong { count: 0, since: now });
        wrong.settle(now);
        if wrong.count == 0 {
            wrong.since = now;
        }
        wrong.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        peer(text.parse().unwrap())
    }

    #[test]
    fn a_peer_has_so_many_guesses_and_another_has_its_own() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..GUESSES {
            assert!(guesses.may_try_at(a, start));
            guesses.wrong_at(a, start);
        }
        assert!(!guesses.may_try_at(a, start), "it has none left");
        assert!(guesses.may_try_at(b, start), "another peer is not concerned");
        assert!(!guesses.may_try_at(a, start + REFILL / 2));
        assert!(guesses.may_try_at(a, start + REFILL), "one is given back");
        guesses.wrong_at(a, start + REFILL);
        assert!(!guesses.may_try_at(a, start + REFILL));
        assert!(guesses.may_try_at(a, start + REFILL * (GUESSES + 2)));
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:2"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_eq!(address("::1"), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn peers_that_are_made_up_take_bounded_memory() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for number in (0_u32..).take(MOST_PEERS) {
            guesses.wrong_at(IpAddr::from(number.to_be_bytes()), start);
        }
        let new = address("198.51.100.1");
        assert!(!guesses.may_try_at(new, start));
        assert!(guesses.may_try_at(new, start + REFILL));
        assert!(guesses.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_peer_has_so_many_connections() {
        let connections = Connections::default();
        let peer = address("192.0.2.1");
        let mut held: Vec<_> = (0..MOST_OF_A_PEER).map(|_| connections.count(peer).unwrap()).collect();
        assert!(connections.count(peer).is_none());
        assert!(connections.count(address("192.0.2.2")).is_some());
        held.pop();
        assert!(connections.count(peer).is_some());
        held.clear();
        assert!(connections.0.lock().unwrap().is_empty());
        // Many addresses together leave some for this machine.
        let of = |number: usize| address(&format!("198.51.100.{}", number / MOST_OF_A_PEER));
        held.extend((0..MOST_OF_OTHERS).map(|number| connections.count(of(number)).unwrap()));
        assert!(connections.count(peer).is_none());
        assert!(connections.count(address("127.0.0.1")).is_some());
    }
}
