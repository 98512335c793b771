//! A folder of class folders, with or without a split, with or without domains.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kaizen_edge::low_level::rng::Rng;
use kaizen_edge::low_level::vision::is_picture;
use kaizen_edge::{Error, Result};

use super::{Dataset, Picture, Pixels, unusable};

/// One picture in five of each class is for testing where the folder has no split of its own.
const TESTED_ONE_IN: usize = 5;

/// A folder with the pictures of one class.
struct ClassFolder {
    domain: String,
    class: String,
    files: Vec<PathBuf>,
}

pub(super) fn read(folder: &Path, seed: u64) -> Result<Dataset> {
    let train = folder.join("train");
    let (train, test) = if train.is_dir() {
        let test = ["test", "val"].map(|name| folder.join(name)).into_iter().find(|path| path.is_dir());
        let test =
            test.ok_or_else(|| unusable(folder.display(), "it has train/ but neither test/ nor val/"))?;
        (side(&train)?, side(&test)?)
    } else {
        split(side(folder)?, seed)
    };
    let names = |of: fn(&ClassFolder) -> &String, side: &[ClassFolder]| -> BTreeSet<String> {
        side.iter().map(of).cloned().collect()
    };
    let classes = names(|f| &f.class, &train);
    if let Some(unknown) = names(|f| &f.class, &test).difference(&classes).next() {
        let reason = format!("class folder `{unknown}` of the test side is not among the training classes");
        return Err(unusable(folder.display(), reason));
    }
    let domains = names(|f| &f.domain, &train);
    if let Some(unknown) = names(|f| &f.domain, &test).difference(&domains).next() {
        let reason = format!("domain folder `{unknown}` of the test side is not among the training domains");
        return Err(unusable(folder.display(), reason));
    }
    let (classes, domains): (Vec<_>, Vec<_>) = (classes.into_iter().collect(), domains.into_iter().collect());
    let pictures = |side: Vec<ClassFolder>| -> Vec<Picture> {
        let place = |names: &[String], name: &String| names.binary_search(name).unwrap_or(0);
        side.into_iter()
            .flat_map(|f| {
                let (class, domain) = (place(&classes, &f.class), place(&domains, &f.domain));
                f.files.into_iter().map(move |file| Picture { class, domain, pixels: Pixels::File(file) })
            })
            .collect()
    };
    let (train, test) = (pictures(train), pictures(test));
    let name = folder.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy().into_owned());
    Ok(Dataset { name, classes, train, test })
}

/// The class folders under `folder`, through one level of domains if its subfolders hold folders.
fn side(folder: &Path) -> Result<Vec<ClassFolder>> {
    let mut found = Vec::new();
    for first in folders(folder)? {
        let inner = folders(&first)?;
        if inner.is_empty() {
            found.push(ClassFolder { domain: "all".into(), class: name(&first), files: pictures(&first)? });
        }
        for class in inner {
            found.push(ClassFolder { domain: name(&first), class: name(&class), files: pictures(&class)? });
        }
    }
    if found.is_empty() {
        return Err(unusable(folder.display(), "it has no class folders"));
    }
    if let Some(empty) = found.iter().find(|f| f.files.is_empty()) {
        let reason = format!("class folder `{}` has no JPEG or PNG file", empty.class);
        return Err(unusable(folder.display(), reason));
    }
    Ok(found)
}

fn split(all: Vec<ClassFolder>, seed: u64) -> (Vec<ClassFolder>, Vec<ClassFolder>) {
    let halves = all.into_iter().map(|mut f| {
        Rng::named(seed, &format!("split {} {}", f.domain, f.class)).shuffle(&mut f.files);
        let test = (f.files.len() / TESTED_ONE_IN).max(1).min(f.files.len() - 1);
        let mut train = f.files.split_off(test);
        train.sort();
        f.files.sort();
        let domain = f.domain.clone();
        (ClassFolder { domain, class: f.class.clone(), files: train }, f)
    });
    halves.unzip()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()
        .map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let hidden = |path: &PathBuf| name(path).starts_with('.');
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir() && !hidden(path)).collect())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_file() && is_picture(path)).collect())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
