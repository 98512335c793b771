//! Scenarios of continual learning: which samples come when, and which of them carry their label.

mod permutation;
mod replay_budget;

use kaizen_edge::ClassId;
use kaizen_edge::low_level::number::real;
use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::{Error, Result};
use serde::{Deserialize, Serialize};

use permutation::torch_randperm;
pub(crate) use replay_budget::ReplayBudget;

/// What is new in each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Increment {
    /// Each task brings classes of its own.
    Class,
    /// Each task brings samples of all classes.
    Data,
    /// Each task brings a domain, with samples of all classes.
    Domain,
}

impl Increment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Data => "data",
            Self::Domain => "domain",
        }
    }
}

/// The settings that a scenario is made from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScenarioSettings {
    /// What is new in each task.
    pub(crate) increment: Increment,
    /// Number of tasks.
    pub(crate) tasks: usize,
    /// Seed of the class order, as [`torch_randperm`] draws it.
    pub(crate) class_order_seed: u64,
    /// Seed of everything else.
    pub(crate) seed: u64,
    /// Share of each class's samples that carry their label, above 0 and up to 1.
    pub(crate) labels: f64,
    /// Ratio of the most to the least frequent class among unlabelled samples, 1 or more.
    pub(crate) imbalance: f64,
    /// Share of strangers (classes of no task) among the unlabelled samples, below 1.
    pub(crate) strangers: f64,
}

/// One task, by rows of the training and the test side.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Task {
    /// Training rows that carry their label.
    pub(crate) labelled: Vec<usize>,
    /// Training rows without a label.
    pub(crate) unlabelled: Vec<usize>,
    /// Test rows.
    pub(crate) test: Vec<usize>,
}

/// Class and domain of each row of a side.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Class, by its number in the collection.
    pub(crate) classes: Vec<usize>,
    /// Domain, by its number in the collection.
    pub(crate) domains: Vec<usize>,
}

/// Tasks in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    /// The collection's classes in the order in which they are learned; the [`ClassId`] of a class
    /// is its place here.
    pub(crate) order: Vec<usize>,
    /// The tasks.
    pub(crate) tasks: Vec<Task>,
}

impl Scenario {
    /// Draws a scenario over `classes` classes.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, classes that do not divide into the tasks, a
    /// task in which a class has no labelled sample, or fewer tasks than domains;
    /// [`Error::Refused`] for a task without samples.
    pub(crate) fn new(
        settings: &ScenarioSettings,
        classes: usize,
        train: &Rows,
        test: &Rows,
    ) -> Result<Self> {
        settings.check()?;
        let mut order = torch_randperm(classes, settings.class_order_seed);
        let strangers = order.split_off(classes - settings.reserved(classes)?);
        let mut tasks = vec![Task::default(); settings.tasks];
        for (place, &class) in order.iter().enumerate() {
            let parts = settings.parts((place, order.len()), class, train, "train")?;
            for (number, members) in parts.into_iter().enumerate() {
                settings.label(&mut tasks[number], (number, place, order.len()), members)?;
            }
            let parts = settings.parts((place, order.len()), class, test, "test")?;
            for (task, members) in tasks.iter_mut().zip(parts) {
                task.test.extend(members);
            }
        }
        if let Some(empty) = tasks.iter().position(|task| task.labelled.is_empty() || task.test.is_empty()) {
            return Err(Error::refused(
                format!("a scenario of {} tasks", settings.tasks),
                format!("task {empty} has no labelled or no test sample"),
                "take fewer tasks or more data",
            ));
        }
        settings.add_strangers(&mut tasks, &strangers, train);
        Ok(Self { order, tasks })
    }

    /// The id of a class of the collection; `None` for a stranger.
    pub(crate) fn id(&self, class: usize) -> Option<ClassId> {
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

    /// The number of classes kept out of all tasks, so that there are strangers: a fifth, or more
    /// if the tasks would not come out even.
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

    /// The rows of one class for each task. The class is the one at `place` of `of`.
    fn parts(
        &self,
        (place, of): (usize, usize),
        class: usize,
        rows: &Rows,
        side: &str,
    ) -> Result<Vec<Vec<usize>>> {
        let mut members = rows_of(rows, |found| found == class);
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
                    let part = parts.get_mut(rows.domains[row]).ok_or_else(|| {
                        Error::config("tasks", self.tasks, "as many as there are domains; this one has more")
                    })?;
                    part.push(row);
                }
            }
        }
        Ok(parts)
    }

    /// Gives a task its labelled and unlabelled rows of one class.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares of counts")]
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

    /// Adds rows of classes of no task to the unlabelled rows of each task.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    fn add_strangers(&self, tasks: &mut [Task], strangers: &[usize], train: &Rows) {
        let mut pool = rows_of(train, |class| strangers.contains(&class));
        Rng::named(self.seed, "strangers").shuffle(&mut pool);
        let mut next = pool.iter().copied().cycle();
        for task in tasks {
            let wanted = real(task.unlabelled.len()) * self.strangers / (1.0 - self.strangers);
            task.unlabelled.extend(next.by_ref().take((wanted as usize).min(pool.len())));
        }
    }
}

/// The rows whose class is one that is asked for.
fn rows_of(rows: &Rows, is_asked: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..rows.classes.len()).filter(|&row| is_asked(rows.classes[row])).collect()
}

#[cfg(test)]
mod tests;
