//! How much of earlier tasks a method may keep.

use std::fmt;
use std::str::FromStr;

use kaizen_edge::low_level::number::real;
use kaizen_edge::{Error, Result};

/// How much of each task may be kept for later ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReplayBudget {
    /// A share of a class's samples, 0..=1.
    Share(f64),
    /// A number of samples of each class.
    PerClass(usize),
    /// The bytes of all features kept, shared by the classes so far.
    Bytes(usize),
}

impl FromStr for ReplayBudget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let wrong = || {
            Error::config("replay", text, "a share such as 0.01, a count such as 2/class, or 512KiB, 4MiB")
        };
        let count = |text: &str, factor: usize| {
            text.trim().parse::<usize>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(wrong)
        };
        if let Some(per_class) = text.strip_suffix("/class") {
            return Ok(Self::PerClass(count(per_class, 1)?));
        }
        for (unit, factor) in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)] {
            if let Some(number) = text.strip_suffix(unit) {
                return Ok(Self::Bytes(count(number, factor)?));
            }
        }
        let share = text.parse::<f64>().map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&share) { Ok(Self::Share(share)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ReplayBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}"),
            Self::PerClass(count) => write!(f, "{count}/class"),
            Self::Bytes(bytes) => write!(f, "{bytes}B"),
        }
    }
}

impl ReplayBudget {
    /// The samples of each class that may be kept, with `classes` classes so far, `of_class`
    /// samples of this one and `sample_bytes` a sample.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    pub(crate) fn per_class(&self, classes: usize, of_class: usize, sample_bytes: usize) -> usize {
        let most = match *self {
            Self::Share(share) => (share * real(of_class)).round() as usize,
            Self::PerClass(count) => count,
            Self::Bytes(bytes) => bytes / (classes * sample_bytes).max(1),
        };
        most.min(of_class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_parse_and_count() {
        let budget = |text: &str| text.parse::<ReplayBudget>().unwrap();
        assert_eq!(budget("0.01").per_class(20, 200, 2560), 2);
        assert_eq!(budget("3/class").per_class(20, 200, 2560), 3);
        assert_eq!(budget("1MiB").per_class(20, 200, 2560), 20);
        assert_eq!(budget("1MiB").to_string().parse::<ReplayBudget>().unwrap(), budget("1048576B"));
        for wrong in ["", "-1", "2", "x/class", "2MB?"] {
            assert!(wrong.parse::<ReplayBudget>().is_err(), "{wrong}");
        }
    }
}
