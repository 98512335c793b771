//! Reads one golden case: arrays written by PyTorch in double precision.

use std::path::PathBuf;

/// The bytes of one file of `$KAIZEN_GOLDEN_DIR`, or of `tests/data/golden`.
pub(crate) struct Case(Vec<u8>);

impl Case {
    /// Opens `name` (without ending); fails if it is not there.
    #[track_caller]
    pub(crate) fn open(name: &str) -> Self {
        let folder = std::env::var_os("KAIZEN_GOLDEN_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden"),
            PathBuf::from,
        );
        let path = folder.join(format!("{name}.safetensors"));
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The array `key`, widened to double precision.
    #[track_caller]
    pub(crate) fn values(&self, key: &str) -> Vec<f64> {
        let file = safetensors::SafeTensors::deserialize(&self.0).unwrap();
        let array = file.tensor(key).unwrap();
        let bytes = array.data();
        match array.dtype() {
            safetensors::Dtype::F32 => {
                bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            safetensors::Dtype::F64 => {
                bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
            }
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Worst error of `got` against the array `key`, relative to each value but not below 1e-2 (so that a bound of
    /// 1e-9 means 1e-9 relative plus 1e-11 absolute).
    #[track_caller]
    pub(crate) fn error(&self, key: &str, got: &[f64]) -> f64 {
        let want = self.values(key);
        assert_eq!(got.len(), want.len(), "{key}");
        let error = |(g, w): (&f64, &f64)| (g - w).abs() / w.abs().max(1e-2);
        let errors = got.iter().zip(&want).map(error);
        errors.fold(0.0, |worst, error| if error <= worst { worst } else { error })
    }
}
