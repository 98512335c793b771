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
    let rows = |of_class: usize| Rows {
        classes: (0..classes * of_class).map(|row| row % classes).collect(),
        domains: (0..classes * of_class).map(|row| row / classes % 2).collect(),
    };
    Scenario::new(settings, classes, &rows(40), &rows(5))
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
    assert!(scenario_error(&ScenarioSettings { tasks: 3, ..SETTINGS }).contains("divisor of the 20 classes"));
    assert!(scenario_error(&ScenarioSettings { labels: 0.01, ..SETTINGS }).contains("no label at all"));
    assert!(scenario_error(&ScenarioSettings { labels: 1.5, ..SETTINGS }).contains("labels"));
    assert!(scenario_error(&ScenarioSettings { strangers: 1.0, ..SETTINGS }).contains("strangers"));
    assert!(scenario_error(&ScenarioSettings { imbalance: 0.5, ..SETTINGS }).contains("imbalance"));
    assert!(scenario_error(&ScenarioSettings { tasks: 0, ..SETTINGS }).contains("tasks"));
}
