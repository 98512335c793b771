//! Numbers of bytes as options.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes: digits, and `K`, `M` or `G` behind them for 1024, 1024² or 1024³ bytes. In a
/// file it is a number or such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct ByteSize(pub(super) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = match text.char_indices().next_back() {
            Some((at, 'K')) => (&text[..at], 1 << 10),
            Some((at, 'M')) => (&text[..at], 1 << 20),
            Some((at, 'G')) => (&text[..at], 1 << 30),
            Some(_) | None => (text, 1_u64),
        };
        let bytes = digits.parse().ok().and_then(|number: u64| number.checked_mul(unit));
        bytes.map(Self).ok_or_else(|| format!("`{text}` is no number of bytes, as 200M or 1073741824 are"))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, as 1073741824 or \"1G\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let below_zero = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(ByteSize).map_err(below_zero)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        let read = |text: &str| text.parse::<ByteSize>().map(|size| size.0).ok();
        assert_eq!([read("77"), read("3K"), read("200M")], [Some(77), Some(3 << 10), Some(200 << 20)]);
        assert_eq!(read("2G"), Some(2 << 30));
        for wrong in ["", "M", "-1", "1.5G", "1T", "1 M", "20000000000G"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        #[derive(Deserialize)]
        struct File {
            size: ByteSize,
        }
        let file = |text: &str| toml::from_str::<File>(text).map(|file| file.size.0).ok();
        assert_eq!([file("size = 77"), file("size = \"2M\"")], [Some(77), Some(2 << 20)]);
        assert_eq!([file("size = -1"), file("size = \"much\""), file("size = 1.5")], [None; 3]);
    }
}
