//! Scenarios of continual learning: which samples come when, and which of them carry their label.

mod permutation;

use std::fmt;

pub use permutation::torch_randperm;

use kaizen_edge::low_level::ids::ClassId;
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::{Error, Result};

/// What is new in each task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Increment {
    /// Classes.
    #[default]
    Class,
    /// Samples of all classes.
    Data,
    /// Domains, with samples of all classes.
    Domain,
}

impl std::str::FromStr for Increment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "class" => Ok(Self::Class),
            "data" => Ok(Self::Data),
            "domain" => Ok(Self::Domain),
            _ => Err(Error::config("scenario", text, "class, data or domain")),
        }
    }
}

/// How much of each task may be kept for later ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplayBudget {
    /// Share of a class's samples, 0..=1.
    Share(f64),
    /// Samples of each class.
    PerClass(usize),
    /// Bytes of all features kept, shared by the classes seen so far.
    Bytes(usize),
}

impl std::str::FromStr for ReplayBudget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config("replay", text, "a share such as 0.01, a count such as 2/class, or 512KiB, 4MiB")
        };
        let count = |text: &str, factor: usize| {
            text.trim().parse::<usize>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(wrong)
        };
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
        if let Some(per_class) = text.strip_suffix("/class") {
            return Ok(Self::PerClass(count(per_class, 1)?));
        }
        if let Some((number, factor)) =
            units.iter().find_map(|(unit, f)| Some((text.strip_suffix(unit)?, *f)))
        {
            return Ok(Self::Bytes(count(number, factor)?));
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
    /// Samples of each class that may be kept, with `classes` classes seen, `of_class` samples of this one and
    /// `sample_bytes` a sample.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    pub fn per_class(&self, classes: usize, of_class: usize, sample_bytes: usize) -> usize {
        let most = match *self {
            Self::Share(share) => (share * real(of_class)).round() as usize,
            Self::PerClass(count) => count,
            Self::Bytes(bytes) => bytes / (classes * sample_bytes).max(1),
        };
        most.min(of_class)
    }
}

/// What a scenario is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioSettings {
    /// What is new in each task.
    pub increment: Increment,
    /// Number of tasks.
    pub tasks: usize,
    /// Seed of the class order ([`torch_randperm`]).
    pub class_order_seed: u64,
    /// Seed of everything else.
    pub seed: u64,
    /// Share of each class's samples that carry their label, above 0 and up to 1.
    pub labels: f64,
    /// Ratio of the most to the least frequent class among unlabelled samples, 1 or more.
    pub imbalance: f64,
    /// Share of strangers (classes of no task) among the unlabelled samples, below 1.
    pub strangers: f64,
}

/// One task, by rows of the training and the test side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Rows that carry their label.
    pub labelled: Vec<usize>,
    /// Rows that do not.
    pub unlabelled: Vec<usize>,
    /// Rows to be judged by.
    pub test: Vec<usize>,
}

/// Class and domain of each row of a side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Class, by its number in the collection.
    pub classes: &'a [usize],
    /// Domain.
    pub domains: &'a [usize],
}

/// Tasks in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The collection's classes in the order in which they are learned; a class's [`ClassId`] is its place here.
    pub order: Vec<usize>,
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl Scenario {
    /// Draws a scenario over `classes` classes.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, classes that do not divide into the tasks, a task in which a class
    /// has no labelled sample, or a domain scenario without as many domains.
    pub fn new(settings: &ScenarioSettings, classes: usize, train: Rows<'_>, test: Rows<'_>) -> Result<Self> {
        settings.check()?;
        let mut order = torch_randperm(classes, settings.class_order_seed);
        let reserved = settings.reserved(classes)?;
        let strangers: Vec<usize> = order.split_off(classes - reserved);
        let mut pool: Vec<usize> =
            (0..train.classes.len()).filter(|&row| strangers.contains(&train.classes[row])).collect();
        Rng::named(settings.seed, "strangers").shuffle(&mut pool);
        let mut tasks = vec![Task::default(); settings.tasks];
        for (place, &class) in order.iter().enumerate() {
            for (task, members) in
                settings.parts(place, order.len(), class, train, "train")?.into_iter().enumerate()
            {
                settings.label(&mut tasks[task], (task, place, order.len()), members)?;
            }
            for (task, members) in
                settings.parts(place, order.len(), class, test, "test")?.into_iter().enumerate()
            {
                tasks[task].test.extend(members);
            }
        }
        let mut from = 0;
        for (number, task) in tasks.iter_mut().enumerate() {
            if task.labelled.is_empty() || task.test.is_empty() {
                return Err(Error::config(
                    "tasks",
                    format!("task {number} is empty"),
                    "fewer tasks or more data",
                ));
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
            let wanted =
                (real(task.unlabelled.len()) * settings.strangers / (1.0 - settings.strangers)) as usize;
            let wanted = wanted.min(pool.len());
            task.unlabelled.extend((from..from + wanted).map(|at| pool[at % pool.len()]));
            from += wanted;
        }
        Ok(Self { order, tasks })
    }

    /// The id of a class of the collection; `None` for a stranger.
    #[must_use]
    pub fn id(&self, class: usize) -> Option<ClassId> {
        let place = self.order.iter().position(|&ordered| ordered == class)?;
        u32::try_from(place).ok().map(ClassId)
    }
}

impl ScenarioSettings {
    fn check(&self) -> Result<()> {
        if self.tasks == 0 {
            return Err(Error::config("tasks", 0, "1 or more"));
        }
        if !(self.labels > 0.0 && self.labels <= 1.0) {
            return Err(Error::config("labels", self.labels, "a share above 0 and up to 1"));
        }
        if !(self.imbalance >= 1.0 && self.imbalance.is_finite()) {
            return Err(Error::config("imbalance", self.imbalance, "a ratio of 1 or more"));
        }
        if !(0.0..1.0).contains(&self.strangers) {
            return Err(Error::config("strangers", self.strangers, "a share of at least 0 and below 1"));
        }
        Ok(())
    }

    /// Classes kept out of all tasks, so that there are strangers: a fifth, more if the tasks would not come out even.
    fn reserved(&self, classes: usize) -> Result<usize> {
        let even = |reserved: &usize| {
            self.increment != Increment::Class || (classes - reserved).is_multiple_of(self.tasks)
        };
        let from = if self.strangers > 0.0 { classes.div_ceil(5) } else { 0 };
        let found = if self.strangers > 0.0 { (from..classes).find(even) } else { Some(0).filter(even) };
        found
            .filter(|reserved| classes > *reserved)
            .ok_or_else(|| Error::config("tasks", self.tasks, format!("a divisor of the {classes} classes")))
    }

    /// Rows of one class for each task.
    fn parts(
        &self,
        place: usize,
        of: usize,
        class: usize,
        rows: Rows<'_>,
        side: &str,
    ) -> Result<Vec<Vec<usize>>> {
        let mut members: Vec<usize> =
            (0..rows.classes.len()).filter(|&row| rows.classes[row] == class).collect();
        let mut parts = vec![Vec::new(); self.tasks];
        match self.increment {
            Increment::Class => parts[place * self.tasks / of] = members,
            Increment::Data => {
                Rng::named(self.seed, &format!("data {side} {class}")).shuffle(&mut members);
                for (at, row) in members.into_iter().enumerate() {
                    parts[at % self.tasks].push(row);
                }
            }
            Increment::Domain => {
                for row in members {
                    let domain = rows.domains[row];
                    let part = parts.get_mut(domain).ok_or_else(|| {
                        Error::config("tasks", self.tasks, "as many as there are domains; this one has more")
                    })?;
                    part.push(row);
                }
            }
        }
        Ok(parts)
    }

    /// Gives a task its labelled and unlabelled rows of one class.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares of counts")]
    fn label(
        &self,
        task: &mut Task,
        (number, place, classes): (usize, usize, usize),
        mut rows: Vec<usize>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        Rng::named(self.seed, &format!("labels {number} {place}")).shuffle(&mut rows);
        let labelled = (self.labels * real(rows.len())).round() as usize;
        if labelled == 0 {
            let value = format!("{}, which is no label at all of {} samples", self.labels, rows.len());
            return Err(Error::config("labels", value, "a share that leaves every class of a task a label"));
        }
        let mut unlabelled = rows.split_off(labelled);
        let peers = if self.increment == Increment::Class { classes / self.tasks } else { classes };
        let mut ranks: Vec<usize> = (0..peers).collect();
        Rng::named(self.seed, &format!("imbalance {number}")).shuffle(&mut ranks);
        let rank = real(ranks[place % peers]) / real((peers - 1).max(1));
        let kept = (real(unlabelled.len()) * self.imbalance.powf(-rank)).round() as usize;
        unlabelled.truncate(kept);
        task.labelled.extend(rows);
        task.unlabelled.extend(unlabelled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ScenarioSettings = ScenarioSettings {
        increment: Increment::Class,
        tasks: 5,
        class_order_seed: 5,
        seed: 1,
        labels: 0.1,
        imbalance: 1.0,
        strangers: 0.0,
    };

    fn scenario(settings: &ScenarioSettings, classes: usize) -> Result<Scenario> {
        let (train, test): (Vec<_>, Vec<_>) = (
            (0..classes * 40).map(|row| row % classes).collect(),
            (0..classes * 5).map(|row| row % classes).collect(),
        );
        let domains: Vec<usize> = (0..classes * 40).map(|row| row / classes % 2).collect();
        let rows = |classes| Rows { classes, domains: &domains };
        Scenario::new(settings, classes, rows(&train), rows(&test))
    }

    #[test]
    fn classes_come_in_equal_chunks_and_some_rows_carry_labels() {
        let scenario = scenario(&SETTINGS, 20).unwrap();
        assert_eq!(scenario.order, torch_randperm(20, 5));
        for (number, task) in scenario.tasks.iter().enumerate() {
            assert_eq!((task.labelled.len(), task.unlabelled.len(), task.test.len()), (16, 144, 20));
            let all = task.labelled.iter().chain(&task.unlabelled).chain(&task.test);
            assert!(all.clone().all(|row| scenario.order[4 * number..4 * number + 4].contains(&(row % 20))));
        }
        assert_eq!(scenario.id(scenario.order[3]), Some(ClassId(3)));
    }

    #[test]
    fn data_and_domains_spread_every_class() {
        let data = scenario(&ScenarioSettings { increment: Increment::Data, ..SETTINGS }, 4).unwrap();
        assert!(data.tasks.iter().all(|task| task.labelled.len() + task.unlabelled.len() == 32));
        let domain = ScenarioSettings { increment: Increment::Domain, tasks: 2, ..SETTINGS };
        let domain = scenario(&domain, 4).unwrap();
        assert!(domain.tasks[1].labelled.iter().all(|row| row / 4 % 2 == 1));
        assert!(
            scenario_error(&ScenarioSettings { increment: Increment::Domain, tasks: 1, ..SETTINGS })
                .contains("domains")
        );
    }

    #[test]
    fn imbalance_and_strangers_are_as_asked() {
        let settings = ScenarioSettings { imbalance: 10.0, strangers: 0.2, ..SETTINGS };
        let scenario = scenario(&settings, 25).unwrap();
        assert_eq!(scenario.order.len(), 20);
        for task in &scenario.tasks {
            let strange = task.unlabelled.iter().filter(|row| scenario.id(*row % 25).is_none()).count();
            assert_eq!(strange, (task.unlabelled.len() - strange) / 4);
            let count = |class: usize| task.unlabelled.iter().filter(|row| *row % 25 == class).count();
            let counts: Vec<usize> = scenario.order.iter().map(|&c| count(c)).filter(|&n| n > 0).collect();
            assert_eq!((counts.iter().max(), counts.iter().min()), (Some(&36), Some(&4)));
        }
        assert!(scenario.tasks.iter().flat_map(|t| &t.labelled).all(|row| scenario.id(row % 25).is_some()));
    }

    fn scenario_error(settings: &ScenarioSettings) -> String {
        scenario(settings, 20).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(
            scenario_error(&ScenarioSettings { tasks: 3, ..SETTINGS }).contains("divisor of the 20 classes")
        );
        assert!(scenario_error(&ScenarioSettings { labels: 0.01, ..SETTINGS }).contains("no label at all"));
        assert!(scenario_error(&ScenarioSettings { labels: 1.5, ..SETTINGS }).contains("labels"));
        assert!(scenario_error(&ScenarioSettings { strangers: 1.0, ..SETTINGS }).contains("strangers"));
        assert!(scenario_error(&ScenarioSettings { imbalance: 0.5, ..SETTINGS }).contains("imbalance"));
        assert!(scenario_error(&ScenarioSettings { tasks: 0, ..SETTINGS }).contains("tasks"));
    }

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
