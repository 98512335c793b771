//! The permutation that `torch.randperm` gives for a generator of the same seed on the CPU, so that class orders of
//! published experiments can be named by their seed. Everything else that is random comes from `rng`.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// The 32-bit Mersenne Twister (Matsumoto and Nishimura, 1998).
struct MersenneTwister {
    state: [u32; SIZE],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; SIZE];
        for at in 1..SIZE {
            let before = state[at - 1];
            let place = u32::try_from(at).unwrap_or(0);
            state[at] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(place);
        }
        Self { state, next: SIZE }
    }

    fn twist(&mut self) {
        for at in 0..SIZE {
            let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % SIZE] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + SHIFT) % SIZE] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn bits(&mut self) -> u32 {
        if self.next == SIZE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }
}

/// `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`. Like PyTorch, only the low 32 bits of the seed
/// count; `n` is below 2^32.
#[must_use]
pub fn torch_randperm(n: usize, seed: u64) -> Vec<usize> {
    #[allow(clippy::cast_possible_truncation, reason = "the low 32 bits are the seed")]
    let mut twister = MersenneTwister::new(seed as u32);
    let mut order: Vec<usize> = (0..n).collect();
    for at in 0..n.saturating_sub(1) {
        let offset = twister.bits() as usize % (n - at);
        order.swap(at, at + offset);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tenth-thousandth output for the reference seed, as the C++ standard requires of `std::mt19937`.
    #[test]
    fn the_twister_is_the_standard_one() {
        let mut twister = MersenneTwister::new(5489);
        assert_eq!((0..10_000).map(|_| twister.bits()).last(), Some(4_123_659_995));
    }

    #[test]
    fn the_order_of_seed_5_is_the_one_of_pytorch() {
        let want = [
            11, 22, 39, 23, 42, 30, 78, 81, 64, 20, 29, 79, 15, 69, 86, 63, 55, 53, 73, 68, 89, 67, 58, 97,
            96, 92, 37, 14, 75, 51, 54, 7, 3, 6, 50, 40, 45, 4, 83, 98, 27, 12, 8, 99, 60, 87, 28, 5, 84, 34,
            82, 16, 72, 49, 59, 31, 71, 35, 66, 76, 61, 17, 36, 62, 13, 2, 38, 94, 80, 19, 25, 18, 0, 1, 46,
            74, 85, 91, 52, 77, 21, 33, 32, 88, 93, 70, 44, 47, 26, 57, 90, 95, 48, 65, 43, 10, 9, 56, 24,
            41,
        ];
        assert_eq!(torch_randperm(100, 5), want);
        assert_eq!(torch_randperm(10, 7), [5, 0, 3, 4, 1, 7, 9, 6, 8, 2]);
        assert_ne!(torch_randperm(100, 6), want);
        assert!(torch_randperm(0, 5).is_empty());
    }
}
