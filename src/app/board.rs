//! Facts that the machine tells about itself: board, system image, power mode, clock, temperature,
//! memory, cameras.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Facts from `/proc`, `/sys` and `/etc`; `None` where the machine does not tell.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Board {
    /// The model from the device tree, as `NVIDIA Jetson Orin Nano Developer Kit`.
    pub(super) model: Option<String>,
    /// The release of Jetson Linux, as `R36 revision 4.3`.
    pub(super) jetson_linux: Option<String>,
    /// The mode that `nvpmodel` has set.
    pub(super) power_mode: Option<String>,
    /// The clock of the first core.
    pub(super) cpu_mhz: Option<u64>,
    /// The temperature of the hottest zone.
    pub(super) temperature_celsius: Option<f64>,
    pub(super) memory_available_bytes: Option<u64>,
    pub(super) memory_total_bytes: Option<u64>,
    /// Video devices with the names of their drivers, as `/dev/video0 (HD Pro Webcam C920)`.
    pub(super) cameras: Vec<String>,
}

impl Board {
    /// Reads the facts below `root`, which is `/` except in a test.
    pub(super) fn read(root: &Path) -> Self {
        let text = |path: &str| -> Option<String> {
            let bytes = fs::read(root.join(path)).ok()?;
            let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let memory = text("proc/meminfo").unwrap_or_default();
        Self {
            model: text("proc/device-tree/model"),
            jetson_linux: text("etc/nv_tegra_release").as_deref().and_then(jetson_linux),
            power_mode: text("var/lib/nvpmodel/status"),
            cpu_mhz: text("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
                .and_then(|kilohertz| Some(kilohertz.parse::<u64>().ok()? / 1000)),
            temperature_celsius: hottest(&root.join("sys/class/thermal")),
            memory_available_bytes: kibibytes(&memory, "MemAvailable:"),
            memory_total_bytes: kibibytes(&memory, "MemTotal:"),
            cameras: cameras(&root.join("sys/class/video4linux")),
        }
    }

    /// The facts in sentences, one line for each.
    pub(super) fn lines(&self) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "shown to a tenth of a gigabyte")]
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        let memory = self.memory_available_bytes.zip(self.memory_total_bytes);
        let memory = memory.map(|(free, all)| format!("{} of {} available", gigabytes(free), gigabytes(all)));
        let temperature = self.temperature_celsius.map(|celsius| format!("{celsius:.0} °C at the hottest"));
        let cameras = if self.cameras.is_empty() { "none".to_owned() } else { self.cameras.join(", ") };
        let facts = [
            ("board", self.model.clone()),
            ("Jetson Linux", self.jetson_linux.clone()),
            ("power mode", self.power_mode.clone()),
            ("clock", self.cpu_mhz.map(|mhz| format!("{mhz} MHz"))),
            ("temperature", temperature),
            ("memory", memory),
            ("cameras", Some(cameras)),
        ];
        facts.into_iter().filter_map(|(name, fact)| Some(format!("{name}: {}", fact?))).collect()
    }
}

/// The `R36 revision 4.3` of `# R36 (release), REVISION: 4.3, GCID: …`.
fn jetson_linux(text: &str) -> Option<String> {
    let release = text.split_whitespace().find(|word| word.starts_with('R'))?;
    let revision = text.split("REVISION:").nth(1)?.split(',').next()?.trim();
    Some(format!("{release} revision {revision}"))
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The temperature of the hottest zone. A zone that cannot be read (Jetsons have some that are
/// switched off) is left out.
fn hottest(folder: &Path) -> Option<f64> {
    let zones = fs::read_dir(folder).ok()?.flatten();
    let millidegrees = zones
        .filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok());
    millidegrees.max().map(|value| f64::from(value) / 1000.0)
}

fn cameras(folder: &Path) -> Vec<String> {
    let devices = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = devices
        .map(|device| {
            let name = fs::read_to_string(device.path().join("name")).unwrap_or_default();
            format!("/dev/{} ({})", device.file_name().to_string_lossy(), name.trim())
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jetson_is_read_from_its_files_and_a_bare_machine_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let bare = Board::read(folder.path());
        assert_eq!(bare.lines(), ["cameras: none"]);
        write("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0");
        write(
            "etc/nv_tegra_release",
            "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x\n",
        );
        write("var/lib/nvpmodel/status", "pmode:0001 fmode:quiet\n");
        write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1510400\n");
        write("sys/class/thermal/thermal_zone0/temp", "48500\n");
        write("sys/class/thermal/thermal_zone1/temp", "51250\n");
        write("sys/class/thermal/thermal_zone2/type", "switched off\n");
        write("proc/meminfo", "MemTotal:        7802748 kB\nMemFree:  1 kB\nMemAvailable:    5200000 kB\n");
        write("sys/class/video4linux/video0/name", "HD Pro Webcam C920\n");
        assert_eq!(
            Board::read(folder.path()).lines(),
            [
                "board: NVIDIA Jetson Orin Nano Developer Kit",
                "Jetson Linux: R36 revision 4.3",
                "power mode: pmode:0001 fmode:quiet",
                "clock: 1510 MHz",
                "temperature: 51 °C at the hottest",
                "memory: 5.3 GB of 8.0 GB available",
                "cameras: /dev/video0 (HD Pro Webcam C920)",
            ]
        );
    }
}
