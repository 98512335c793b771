//! The command line of `kaizen-bench`.

use std::path::PathBuf;
use std::str::FromStr;

use kaizen_edge::low_level::backbone::BackboneOptions;
use kaizen_edge::{Error, Provider, Result};

use crate::dataset::DatasetSource;
use crate::methods::{METHODS, Method};
use crate::scenario::{Increment, ReplayBudget, ScenarioSettings};

const EXAMPLE: &str = "\
Example, on a folder with a subfolder of pictures for each class:
  kaizen-bench --data folder:pictures --tasks 3 --methods kaizen,slda --labels 0.1 --out report";
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong usage";

/// Arguments of `kaizen-bench`.
#[derive(clap::Parser)]
#[command(
    name = "kaizen-bench",
    version,
    override_usage = "kaizen-bench --data KIND:DIR --out DIR [OPTIONS]\n       kaizen-bench --compare A B [--out DIR]",
    about = "Continual learning methods side by side on the same features, with a report",
    after_help = format!("{EXAMPLE}\n\n{EXIT_CODES}\n\n--help also lists the methods"),
    after_long_help = format!("{EXAMPLE}\n\nMethods:\n{}\n{EXIT_CODES}", listed())
)]
pub struct Arguments {
    /// Pictures: cifar100:DIR, fashion-mnist:DIR or folder:DIR
    #[arg(long, value_name = "KIND:DIR", required_unless_present = "compare")]
    pub(super) data: Option<DatasetSource>,
    /// Folder for report.json and report.html; finished runs that are there are not run again
    #[arg(long, value_name = "DIR", required_unless_present = "compare")]
    pub(super) out: Option<PathBuf>,
    /// Methods, separated by commas, or `all`
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub(super) methods: Methods,
    /// Shows two reports (folders or report.json files) side by side instead of running anything
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub(super) compare: Option<Vec<PathBuf>>,

    /// What is new in each task
    #[arg(long, value_enum, default_value = "class", help_heading = "Scenario")]
    pub(super) scenario: Increment,
    /// Number of tasks
    #[arg(long, default_value_t = 5, help_heading = "Scenario")]
    pub(super) tasks: usize,
    /// Shares of labelled samples, separated by commas; the rest of each task is unlabelled
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = share, default_value = "1.0", help_heading = "Scenario")]
    pub(super) labels: Vec<f64>,
    /// What may be kept of earlier tasks: shares (0.01), counts (2/class) or bytes (4MiB),
    /// separated by commas; the default keeps everything, as the product does
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1.0",
        help_heading = "Scenario"
    )]
    pub(super) replay: Vec<ReplayBudget>,
    /// Number of seeds, 1, 2, …
    #[arg(long, default_value_t = 1, help_heading = "Scenario")]
    pub(super) seeds: u64,
    /// Seed of the class order, as torch.randperm draws it
    #[arg(long, value_name = "SEED", default_value_t = 5, help_heading = "Scenario")]
    pub(super) class_order_seed: u64,
    /// Most to least frequent class among unlabelled samples
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, help_heading = "Scenario")]
    pub(super) imbalance: f64,
    /// Share of samples of no task's class among the unlabelled ones
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Scenario")]
    pub(super) strangers: f64,

    /// Training and test pictures of each class to use; all without it
    #[arg(long, value_name = "TRAIN,TEST", help_heading = "Pictures and features")]
    pub(super) per_class: Option<PerClass>,
    /// Goes on although the classes differ in size
    #[arg(long, help_heading = "Pictures and features")]
    pub(super) unequal: bool,
    /// Cached views of each training picture, the plain one included
    #[arg(long, default_value_t = 2, help_heading = "Pictures and features")]
    pub(super) views: usize,
    /// Backbone: a name in models/manifest.toml or an ONNX file listed there [default: the
    /// manifest's]
    #[arg(long, help_heading = "Pictures and features")]
    pub(super) model: Option<String>,
    /// Folder with manifest.toml and the ONNX files
    #[arg(long, value_name = "DIR", help_heading = "Pictures and features")]
    pub(super) models_dir: Option<PathBuf>,
    /// Who runs the backbone: auto, tensorrt, cuda, cpu (ONNX Runtime) or tract
    #[arg(long, default_value = "auto", help_heading = "Pictures and features")]
    pub(super) provider: Provider,
    /// ONNX Runtime's shared library
    #[arg(long, value_name = "FILE", help_heading = "Pictures and features")]
    ort_lib: Option<PathBuf>,
    /// Folder of cached features; `kaizen-edge` in the user's cache without it
    #[arg(long, value_name = "DIR", help_heading = "Pictures and features")]
    pub(super) cache: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn backbone_options(&self) -> BackboneOptions {
        BackboneOptions {
            model: self.model.clone(),
            models_dir: self.models_dir.clone(),
            provider: self.provider,
            ort_lib: self.ort_lib.clone(),
            ..BackboneOptions::default()
        }
    }

    pub(super) fn scenario_settings(&self, labels: f64, seed: u64) -> ScenarioSettings {
        ScenarioSettings {
            increment: self.scenario,
            tasks: self.tasks,
            class_order_seed: self.class_order_seed,
            seed,
            labels,
            imbalance: self.imbalance,
            strangers: self.strangers,
        }
    }
}

/// Every method on a line of its own.
fn listed() -> String {
    METHODS.iter().map(|method| format!("  {:30}{}\n", method.name, method.about)).collect()
}

/// Methods separated by commas; `all` for every one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Methods(pub(super) Vec<&'static Method>);

impl FromStr for Methods {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self(METHODS.iter().collect()));
        }
        text.split(',').map(|name| Method::named(name.trim())).collect::<Result<_>>().map(Self)
    }
}

/// A share of labelled samples.
fn share(text: &str) -> Result<f64> {
    let share = text.trim().parse().ok().filter(|&share| share > 0.0 && share <= 1.0);
    share.ok_or_else(|| Error::config("labels", text, "shares above 0 and up to 1, such as 1.0,0.1"))
}

/// Pictures of each class, `TRAIN,TEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerClass(pub(super) [usize; 2]);

impl FromStr for PerClass {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = |text: &str| text.trim().parse::<usize>().ok().filter(|&count| count > 0);
        let counts = text.split_once(',').and_then(|(train, test)| Some([count(train)?, count(test)?]));
        counts.map(Self).ok_or_else(|| Error::config("per-class", text, "two counts, such as 200,50"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parsed(words: &[&str]) -> std::result::Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["kaizen-bench", "--data", "cifar100:x", "--out", "y"], words].concat())
    }

    #[test]
    fn lists_parse() {
        let some = parsed(&["--labels", "1.0, 0.1", "--replay", "0.01,2/class"]).ok().unwrap();
        assert_eq!(
            (some.labels, some.replay.len(), some.methods.0.len()),
            (vec![1.0, 0.1], 2, METHODS.len())
        );
        let some = parsed(&["--methods", "slda, kaizen"]).ok().unwrap().methods.0;
        assert_eq!(some.iter().map(|method| method.name).collect::<Vec<_>>(), ["slda", "kaizen"]);
        let error = parsed(&["--methods", "slda,foo"]).err().unwrap().to_string();
        assert!(error.contains("`foo`") && error.contains("kaizen-moco"), "{error}");
        for wrong in [["--labels", "1.0,x"], ["--labels", "0"], ["--per-class", "3"], ["--per-class", "0,1"]]
        {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_run_needs_data_and_a_folder_and_a_comparison_needs_neither() {
        assert!(Arguments::try_parse_from(["kaizen-bench", "--out", "y"]).is_err());
        assert!(Arguments::try_parse_from(["kaizen-bench", "--data", "folder:x"]).is_err());
        assert!(Arguments::try_parse_from(["kaizen-bench", "--compare", "a", "b"]).is_ok());
    }
}
