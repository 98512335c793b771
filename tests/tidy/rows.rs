//! Every kernel is a row of three files with one stem: shader, host, definition; and a test names
//! it.

use std::collections::BTreeMap;

use quote::ToTokens as _;

use super::source::{Parsed, Tree, words_of};

/// Kernels whose definition has another name.
const DEFINED_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("linear/gemm_plain", "gemm", "it is the plain form of linear/gemm and has the same definition"),
    ("linear/gemm_merge", "gemm", "with linear/gemm on slices it computes the product of that definition"),
];
const BARRIER: &str = "workgroupBarrier";

pub(crate) fn faults(tree: &Tree) -> Vec<String> {
    faults_by(DEFINED_ELSEWHERE, tree)
}

fn faults_by(elsewhere: &[(&str, &str, &str)], tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let shaders: BTreeMap<&str, &str> = tree
        .under("shaders/", ".wgsl")
        .map(|(path, text)| (path.trim_start_matches("shaders/").trim_end_matches(".wgsl"), text))
        .collect();
    let barriers: Vec<&str> = shaders
        .iter()
        .filter(|(name, text)| name.starts_with("common/") && uncommented(text).contains(BARRIER))
        .map(|(name, _)| *name)
        .collect();
    let listed = listed(tree);
    for (&name, text) in &shaders {
        faults.extend(header(name, text));
        faults.extend(early_return(name, text, &barriers));
        let Some((family, kernel)) = name.split_once('/').filter(|(family, _)| *family != "common") else {
            continue;
        };
        match listed.get(name).map(Vec::as_slice) {
            None => faults.push(format!("{name}: no host lists it: add it to src/gpu/kernels/{family}.rs")),
            Some([host]) if is_of(host, "src/gpu/kernels", family) => {}
            Some([host]) => {
                faults.push(format!("{name}: listed by {host} and not by its family's host"));
            }
            Some(several) => faults.push(format!("{name}: listed {} times", several.len())),
        }
        let definition = elsewhere.iter().find(|(other, ..)| *other == name).map_or(kernel, |(_, by, _)| by);
        if !defines(tree, family, definition) {
            faults.push(format!("{name}: src/reference/{family}.rs has no `fn {definition}`"));
        }
        let longer: Vec<&str> = shaders
            .keys()
            .filter_map(|other| other.strip_prefix(name).filter(|rest| rest.starts_with('_')))
            .collect();
        if !tested(tree, family, kernel, &longer) {
            faults.push(format!("{name}: no test of src/gpu/kernels/{family} names it"));
        }
    }
    for (name, hosts) in listed.iter().filter(|(name, _)| !shaders.contains_key(name.as_str())) {
        faults.push(format!("{}: lists `{name}`, which is no file", hosts[0]));
    }
    for (name, _, reason) in elsewhere.iter().filter(|(name, ..)| !shaders.contains_key(name)) {
        faults.push(format!("{name}: excepted ({reason}) and not there: take the exception out"));
    }
    faults
}

/// Kernels by name, and the hosts that declare each: `kernel!("family/name")` embeds the file of
/// that name.
fn listed(tree: &Tree) -> BTreeMap<String, Vec<String>> {
    const DECLARES: &str = "kernel!(\"";
    let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (host, text) in tree.under("src/gpu/kernels/", ".rs") {
        for (at, _) in text.match_indices(DECLARES) {
            let name = text[at + DECLARES.len()..].split('"').next().unwrap_or_default();
            listed.entry(name.to_owned()).or_default().push(host.to_owned());
        }
    }
    listed
}

/// Whether `path` is the file of `family` in `folder` or lies below it.
fn is_of(path: &str, folder: &str, family: &str) -> bool {
    path == format!("{folder}/{family}.rs") || path.starts_with(&format!("{folder}/{family}/"))
}

fn of_family<'a>(tree: &'a Tree, folder: &str, family: &str) -> impl Iterator<Item = &'a Parsed> {
    tree.parsed().iter().filter(move |(path, _)| is_of(path, folder, family)).map(|(_, file)| file)
}

fn defines(tree: &Tree, family: &str, function: &str) -> bool {
    let files = of_family(tree, "src/reference", family).filter(|file| !file.is_for_tests);
    files.map(|file| words_of(file.file.to_token_stream())).any(|words| {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let (public, shared) = (["pub", "fn", function], ["pub", "(", "crate", ")", "fn", function]);
        texts.windows(3).any(|w| w == public) || texts.windows(6).any(|w| w == shared)
    })
}

fn tested(tree: &Tree, family: &str, kernel: &str, longer: &[&str]) -> bool {
    of_family(tree, "src/gpu/kernels", family).any(|file| {
        let own = file.is_for_tests.then(|| file.file.to_token_stream());
        let mut words = own.iter().chain(&file.tests).cloned().flat_map(words_of);
        words.any(|word| has_part(&word.text, kernel, longer))
    })
}

/// Whether a name has `part` in it, between underscores and not as the beginning of a longer one.
fn has_part(name: &str, part: &str, longer: &[&str]) -> bool {
    name.match_indices(part).any(|(at, _)| {
        let (before, rest) = (&name[..at], &name[at + part.len()..]);
        (before.is_empty() || before.ends_with('_'))
            && (rest.is_empty() || rest.starts_with('_'))
            && !longer.iter().any(|tail| rest.starts_with(tail))
    })
}

fn uncommented(wgsl: &str) -> String {
    let lines = wgsl.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Leaving early where others wait at a barrier is undefined, and no validator sees it.
fn early_return(name: &str, text: &str, barriers: &[&str]) -> Option<String> {
    let body = uncommented(text);
    let included = barriers.iter().find(|common| text.contains(&format!("//#include {common}.wgsl")));
    let waits = body.contains(BARRIER) || included.is_some();
    let leaves = body.split_whitespace().any(|word| word == "return;");
    (waits && leaves)
        .then(|| format!("{name}: `return;` beside a workgroupBarrier: guard loads and stores instead"))
}

/// The comment at the top: a sentence; for kernels also how it is dispatched and how it rounds.
fn header(name: &str, text: &str) -> Vec<String> {
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//")).collect();
    let sentence: Vec<&str> =
        header.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    let sentence = sentence.join(" ");
    let mut faults = Vec::new();
    if !(sentence.starts_with(char::is_uppercase) && sentence.ends_with('.')) {
        faults.push(format!("{name}: does not begin with a sentence that says what it does"));
    }
    for word in ["Dispatch:", "Numerics:"] {
        if !name.starts_with("common/") && !header.iter().any(|line| line.contains(word)) {
            faults.push(format!("{name}: its header has no `{word}`"));
        }
    }
    faults
}

#[cfg(test)]
mod controls {
    use super::*;

    const SHADER: &str = "// Adds.\n//\n// Dispatch: a thread. Numerics: none.\nfn sums_add() {}\n";
    const HOST: &str = "const ADD: Kernel = kernel!(\"sums/add\");\n#[cfg(test)]\nmod tests { #[test] fn add_matches_the_reference() {} }";

    fn files() -> Vec<(&'static str, &'static str)> {
        vec![
            ("shaders/sums/add.wgsl", SHADER),
            ("shaders/common/wait.wgsl", "// Waits.\nfn wait() { workgroupBarrier(); }\n"),
            ("src/gpu/kernels/sums.rs", HOST),
            ("src/reference/sums.rs", "pub(crate) fn add<T>(x: T) {}"),
        ]
    }

    fn found(change: (&'static str, &str), word: &str) {
        let mut all = files();
        all.retain(|(path, _)| *path != change.0);
        if !change.1.is_empty() {
            all.push((change.0, change.1));
        }
        let faults = faults_by(&[], &Tree::of(&all));
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults:?}");
    }

    #[test]
    fn a_whole_row_has_no_fault() {
        assert_eq!(faults_by(&[], &Tree::of(&files())), Vec::<String>::new());
    }

    #[test]
    fn every_hole_is_found() {
        found(("shaders/sums/add.wgsl", ""), "which is no file");
        found(("src/gpu/kernels/sums.rs", ""), "no host lists it");
        found(("src/gpu/kernels/other.rs", HOST), "listed 2 times");
        found(("src/reference/sums.rs", ""), "has no `fn add`");
        found(("src/reference/sums.rs", "pub fn add_all(x: f32) {}"), "has no `fn add`");
        found(("src/reference/sums.rs", "fn add(x: f32) {}"), "has no `fn add`");
        found(("src/reference/sums.rs", "#[cfg(test)]\nmod tests { pub fn add() {} }"), "has no `fn add`");
        found(("src/gpu/kernels/sums.rs", &HOST.replace("sums/add", "sums/plus")), "which is no file");
        found(("src/gpu/kernels/sums.rs", &HOST.replace("add_matches", "madder")), "no test");
        found(
            ("src/gpu/kernels/sums.rs", &HOST.replace("#[cfg(test)]", "").replace("#[test]", "")),
            "no test",
        );
        found(("shaders/sums/add.wgsl", &SHADER.replace("Numerics", "Rounding")), "Numerics:");
        found(("shaders/sums/add.wgsl", &SHADER.replace("// Adds.\n", "// adds\n")), "sentence");
        let leaves = SHADER.replace("{}", "{ if (x) { return; } workgroupBarrier(); }");
        found(("shaders/sums/add.wgsl", &leaves), "workgroupBarrier");
        let leaves =
            SHADER.replace("fn sums_add() {}", "//#include common/wait.wgsl\nfn sums_add() { return; }");
        found(("shaders/sums/add.wgsl", &leaves), "workgroupBarrier");
        let stale = faults_by(&[("sums/gone", "add", "none")], &Tree::of(&files()));
        assert!(stale.iter().any(|fault| fault.contains("take the exception out")), "{stale:?}");
    }

    #[test]
    fn a_longer_name_does_not_stand_for_a_shorter_one() {
        let tests = HOST.replace("add_matches", "add_all_matches");
        let mut all = files();
        all[2].1 = &tests;
        assert!(!tested(&Tree::of(&all), "sums", "add", &["_all"]));
        assert!(tested(&Tree::of(&all), "sums", "add_all", &[]));
    }
}
