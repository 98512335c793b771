//! Which runtime computes the features: the provider that was asked for, the one that runs, and
//! why.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where the backbone runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Provider {
    /// The first that runs of TensorRT, CUDA, CPU (ONNX Runtime), tract.
    Auto,
    /// ONNX Runtime with NVIDIA TensorRT.
    TensorRt,
    /// ONNX Runtime with NVIDIA CUDA.
    Cuda,
    /// ONNX Runtime on the CPU.
    Cpu,
    /// The pure-Rust runtime on the CPU; it needs no library.
    Tract,
}

impl Provider {
    /// Every provider: `auto`, then the others in the order in which `auto` tries them.
    pub const ALL: [Self; 5] = [Self::Auto, Self::TensorRt, Self::Cuda, Self::Cpu, Self::Tract];

    /// Returns the name as typed on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
            Self::Tract => "tract",
        }
    }

    /// Returns an [`Error::Provider`] for this provider.
    pub(super) fn refused(self, reason: impl Into<String>) -> Error {
        Error::Provider { asked: self.name().to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One provider that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderAttempt {
    /// The provider.
    pub provider: Provider,
    /// Why it cannot run here; `None` for the one that was taken. The cause comes first, then `:`
    /// or `;`, then the particulars and the way out.
    pub failure: Option<String>,
}

/// Which provider was asked for, which one runs, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderReport {
    /// The provider as asked.
    pub asked: Provider,
    /// The provider that computes the features; never [`Provider::Auto`].
    pub got: Provider,
    /// Name and version of the runtime, e.g. `ONNX Runtime 1.31.1`.
    pub runtime: String,
    /// File of the runtime; `None` for one that is compiled in.
    pub library: Option<PathBuf>,
    /// Every provider that was tried, in order; the last is the one that was taken.
    pub attempts: Vec<ProviderAttempt>,
}

impl ProviderReport {
    /// Returns one short line: who runs the backbone and, for `auto`, the cause why each provider
    /// before it was passed over.
    #[must_use]
    pub fn line(&self) -> String {
        let auto = if self.asked == Provider::Auto { "auto took " } else { "" };
        let mut line = format!("provider: {auto}{} ({})", self.got, self.runtime);
        let failed: Vec<_> = self
            .attempts
            .iter()
            .filter_map(|a| Some((a.provider.name(), cause(a.failure.as_deref()?))))
            .collect();
        for same in failed.chunk_by(|a, b| a.1 == b.1) {
            let names: Vec<_> = same.iter().map(|attempt| attempt.0).collect();
            line += &format!("; not {}: {}", names.join(", "), same[0].1);
        }
        line
    }

    /// Returns everything known: who runs the backbone and from which file, then every provider
    /// that was passed over with its reason and way out, a line each.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let library = self.library.as_ref().map(|path| format!(" at {}", path.display()));
        let taken = format!("{} by {}{}", self.got, self.runtime, library.unwrap_or_default());
        let failed =
            |a: &ProviderAttempt| Some(format!("not {}: {}", a.provider, one_line(a.failure.as_deref()?)));
        std::iter::once(taken).chain(self.attempts.iter().filter_map(failed)).collect()
    }
}

/// Returns the cause that a failure begins with.
fn cause(failure: &str) -> String {
    one_line(failure.split([':', ';']).next().unwrap_or_default())
}

/// Returns `text` with every run of white space, line ends too, as one space.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_files() {
        use clap::ValueEnum as _;

        assert_eq!(Provider::value_variants(), Provider::ALL);
        for provider in Provider::ALL {
            assert_eq!(Provider::from_str(provider.name(), false), Ok(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.name());
        }
        assert!(Provider::from_str("CPU", false).is_err());
    }

    fn report(asked: Provider, failures: &[(Provider, &str)]) -> ProviderReport {
        let failed = failures
            .iter()
            .map(|&(provider, why)| ProviderAttempt { provider, failure: Some(why.to_owned()) });
        let taken = ProviderAttempt { provider: Provider::Cpu, failure: None };
        ProviderReport {
            asked,
            got: Provider::Cpu,
            runtime: "ONNX Runtime 1.31.1".into(),
            library: Some("/lib/onnx.so".into()),
            attempts: failed.chain([taken]).collect(),
        }
    }

    #[test]
    fn the_line_is_short_and_the_details_leave_nothing_out() {
        let auto = report(
            Provider::Auto,
            &[
                (Provider::TensorRt, "it is not in\n  the library: no /lib/tensorrt.so; take another"),
                (Provider::Cuda, "it is not in the library: no /lib/cuda.so; take another"),
            ],
        );
        assert_eq!(
            auto.line(),
            "provider: auto took cpu (ONNX Runtime 1.31.1); not tensorrt, cuda: it is not in the library"
        );
        assert_eq!(
            auto.details(),
            [
                "cpu by ONNX Runtime 1.31.1 at /lib/onnx.so",
                "not tensorrt: it is not in the library: no /lib/tensorrt.so; take another",
                "not cuda: it is not in the library: no /lib/cuda.so; take another"
            ]
        );
        assert_eq!(report(Provider::Cpu, &[]).line(), "provider: cpu (ONNX Runtime 1.31.1)");
    }
}
