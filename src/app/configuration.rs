//! The configuration file: options of the command line, for commands that are typed often.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backbone::Provider;
use crate::learn::engine_choice::EngineChoice;
use crate::{Error, Result};

/// What a configuration file may say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Configuration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) models_dir: Option<PathBuf>,
    #[serde(with = "spelled", skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<Provider>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) engine: Option<EngineChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ort_lib: Option<PathBuf>,
    pub(super) quiet: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quota_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_limit: Option<u64>,
}

impl Configuration {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|error| {
            let allowed = "a TOML file with known keys, as `--print-config` writes it";
            Error::config("config", format!("{}: {}", path.display(), error.to_string().trim()), allowed)
        })
    }

    pub(super) fn text(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::config("config", error, "options that TOML can hold"))
    }
}

/// The provider as it is spelled on the command line.
mod spelled {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::backbone::Provider;

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        provider: &Option<Provider>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match provider {
            Some(provider) => serializer.collect_str(provider),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Provider>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_unknown_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kaizen.toml");
        let configuration = Configuration {
            provider: Some(Provider::Tract),
            engine: Some(EngineChoice::Cpu),
            quota_bytes: Some(1 << 30),
            memory_limit: Some(250),
            ..Configuration::default()
        };
        std::fs::write(&path, configuration.text().unwrap()).unwrap();
        assert_eq!(Configuration::read(&path).unwrap(), configuration);
        for (text, word) in [("moddel = 'a'", "moddel"), ("engine = 'tpu'", "tpu"), ("quiet = 3", "quiet")] {
            std::fs::write(&path, text).unwrap();
            let error = Configuration::read(&path).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("kaizen.toml"), "{error}");
        }
    }
}
