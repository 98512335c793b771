//! Which runtime computes the features: what was asked, what was got, and why.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::Error;

/// Where the backbone runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The first that runs of TensorRT, CUDA, CPU (ONNX Runtime), tract.
    Auto,
    /// ONNX Runtime with NVIDIA TensorRT.
    TensorRt,
    /// ONNX Runtime with NVIDIA CUDA.
    Cuda,
    /// ONNX Runtime on the CPU.
    Cpu,
    /// The pure-Rust runtime on the CPU; needs no library.
    Tract,
}

impl Provider {
    /// Every provider, in the order in which `auto` tries them, `auto` first.
    pub const ALL: [Self; 5] = [Self::Auto, Self::TensorRt, Self::Cuda, Self::Cpu, Self::Tract];

    /// The name as typed on a command line.
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
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == text)
            .ok_or_else(|| Error::config("provider", text, Self::ALL.map(Self::name).join("|")))
    }
}

/// One provider that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderAttempt {
    /// The provider.
    pub provider: Provider,
    /// Why it cannot run here; `None` for the one that was taken.
    pub failure: Option<String>,
}

/// What was asked, what was got and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderReport {
    /// The provider as asked.
    pub asked: Provider,
    /// The provider that computes the features; never [`Provider::Auto`].
    pub got: Provider,
    /// Name, version and place of the runtime, e.g. `ONNX Runtime 1.31.1 at /usr/lib/libonnxruntime.so`.
    pub runtime: String,
    /// Every provider that was tried, in order; the last is the one that was taken.
    pub attempts: Vec<ProviderAttempt>,
}

impl ProviderReport {
    /// One start-up line: what was asked, what was got, and why the ones before it were passed over.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("provider: asked {}, got {} ({})", self.asked, self.got, self.runtime);
        for same in self.attempts.chunk_by(|a, b| a.failure == b.failure) {
            if let Some(why) = &same[0].failure {
                let names: Vec<_> = same.iter().map(|attempt| attempt.provider.name()).collect();
                line += &format!("; not {}: {}", names.join(", "), one_line(why));
            }
        }
        line
    }
}

/// `text` with every run of white space, line ends too, as one space.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_others_name_the_choice() {
        for provider in Provider::ALL {
            assert_eq!(provider.to_string().parse::<Provider>().unwrap(), provider);
        }
        let message = "gpu".parse::<Provider>().unwrap_err().to_string();
        assert!(message.contains("`provider` is gpu"), "{message}");
        assert!(message.contains("auto|tensorrt|cuda|cpu|tract"), "{message}");
        assert!("CPU".parse::<Provider>().is_err());
    }

    #[test]
    fn the_line_names_asked_got_and_reasons_on_one_line() {
        let report = ProviderReport {
            asked: Provider::Auto,
            got: Provider::Tract,
            runtime: "tract".into(),
            attempts: vec![
                ProviderAttempt { provider: Provider::Cuda, failure: Some("no\n  library".into()) },
                ProviderAttempt { provider: Provider::Cpu, failure: Some("no\n  library".into()) },
                ProviderAttempt { provider: Provider::Tract, failure: None },
            ],
        };
        assert_eq!(report.line(), "provider: asked auto, got tract (tract); not cuda, cpu: no library");
    }
}
