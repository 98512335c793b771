//! The permutation that `torch.randperm` gives on the CPU, so that the class orders of published
//! experiments can be named by their seed. Everything else is drawn from the product's `rng`.

use rand_mt::Mt;

/// `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`. Like PyTorch, only the low
/// 32 bits of the seed count; `n` is below 2^32.
pub(crate) fn torch_randperm(n: usize, seed: u64) -> Vec<usize> {
    #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the seed")]
    let mut twister = Mt::new(seed as u32);
    let mut order: Vec<usize> = (0..n).collect();
    for at in 0..n.saturating_sub(1) {
        let offset = twister.next_u32() as usize % (n - at);
        order.swap(at, at + offset);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

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
