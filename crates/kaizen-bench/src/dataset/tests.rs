use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn cifar(folder: &Path, train: &[u8], test: &[u8]) {
    fs::write(folder.join("fine_label_names.txt"), "apple\nbear\n").unwrap();
    let rows = |classes: &[u8]| -> Vec<u8> {
        classes
            .iter()
            .enumerate()
            .flat_map(|(at, &class)| {
                let mut row = vec![9, class];
                row.extend((0..3072).map(|i| u8::try_from((i + at) % 251).unwrap()));
                row
            })
            .collect()
    };
    fs::write(folder.join("train.bin"), rows(train)).unwrap();
    fs::write(folder.join("test.bin"), rows(test)).unwrap();
}

#[allow(clippy::needless_pass_by_value, reason = "each call makes its own source")]
fn read(source: DatasetSource) -> String {
    Dataset::read(&source, 1).unwrap_err().to_string()
}

#[test]
fn cifar_rows_become_frames() {
    let folder = tempfile::tempdir().unwrap();
    cifar(folder.path(), &[0, 1, 1, 0], &[1, 0]);
    let dataset = Dataset::read(&DatasetSource::Cifar100(folder.path().into()), 1).unwrap();
    assert_eq!((dataset.classes.len(), dataset.train.len(), dataset.test.len()), (2, 4, 2));
    assert_eq!(dataset.train[2].class, 1);
    let frame = dataset.frame(Split::Train, 1).unwrap();
    // Second row: value (i + 1) % 251 at byte i of the planes.
    assert_eq!(frame.rgb[..4], [1, (1025_u32 % 251) as u8, (2049_u32 % 251) as u8, 2]);
    dataset.check_balanced().unwrap();
    assert_ne!(dataset.digest(Split::Train).unwrap(), dataset.digest(Split::Test).unwrap());
}

#[test]
fn faulty_cifar_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = || DatasetSource::Cifar100(folder.path().into());
    assert!(read(source()).contains("fine_label_names.txt"));
    cifar(folder.path(), &[0, 1], &[0, 1]);
    let bytes = fs::read(folder.path().join("test.bin")).unwrap();
    fs::write(folder.path().join("test.bin"), &bytes[..bytes.len() - 1]).unwrap();
    assert!(read(source()).contains("3074-byte rows"));
    cifar(folder.path(), &[0, 2], &[0, 1]);
    assert!(read(source()).contains("class 2"));
    cifar(folder.path(), &[0, 0], &[0, 1]);
    assert!(read(source()).contains("`bear` has no training picture"));
    cifar(folder.path(), &[0, 1, 1], &[0, 1]);
    let mut unequal = Dataset::read(&source(), 1).unwrap();
    assert!(unequal.check_balanced().unwrap_err().to_string().contains("--unequal"));
    unequal.limit([1, 1], 1).unwrap();
    unequal.check_balanced().unwrap();
    assert!(unequal.limit([2, 1], 1).unwrap_err().to_string().contains("has 1 training"));
    fs::write(folder.path().join("fine_label_names.txt"), "apple\n").unwrap();
    cifar_one_class(folder.path());
    assert!(read(source()).contains("one class"));
}

fn cifar_one_class(folder: &Path) {
    cifar(folder, &[0, 0], &[0]);
    fs::write(folder.join("fine_label_names.txt"), "apple\n").unwrap();
}

fn idx(folder: &Path, stem: &str, labels: &[u8], packed: bool) {
    let count = u32::try_from(labels.len()).unwrap().to_be_bytes();
    let mut images = [[0, 0, 8, 3], count, 2_u32.to_be_bytes(), 3_u32.to_be_bytes()].concat();
    images.extend((0..labels.len() * 6).map(|i| u8::try_from(i % 256).unwrap()));
    let mut text = [[0, 0, 8, 1], count].concat();
    text.extend(labels);
    for (kind, bytes) in [("images-idx3", images), ("labels-idx1", text)] {
        let name = format!("{stem}-{kind}-ubyte");
        if packed {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&bytes).unwrap();
            fs::write(folder.join(name + ".gz"), encoder.finish().unwrap()).unwrap();
        } else {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

#[test]
fn idx_files_are_read_packed_and_plain_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<u8> = (0..10).collect();
    idx(folder.path(), "train", &all, true);
    idx(folder.path(), "t10k", &all, false);
    let source = || DatasetSource::FashionMnist(folder.path().into());
    let dataset = Dataset::read(&source(), 1).unwrap();
    let frame = dataset.frame(Split::Test, 1).unwrap();
    assert_eq!((frame.width, frame.height, &frame.rgb[..6]), (3, 2, &[6, 6, 6, 7, 7, 7][..]));
    assert_eq!(dataset.classes[dataset.train[9].class], "ankle-boot");
    let path = folder.path().join("t10k-images-idx3-ubyte");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    assert!(read(source()).contains("too few"));
    fs::write(&path, &bytes[1..]).unwrap();
    assert!(read(source()).contains("no idx file"));
    idx(folder.path(), "t10k", &[10; 10], false);
    assert!(read(source()).contains("label 10"));
    let packed = folder.path().join("train-images-idx3-ubyte.gz");
    let bytes = fs::read(&packed).unwrap();
    fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
    assert!(read(source()).contains("cannot be unpacked"));
}

fn folders(root: &Path, classes: &[&str], count: usize) {
    for class in classes {
        fs::create_dir_all(root.join(class)).unwrap();
        for at in 0..count {
            let pixel = image::RgbImage::from_pixel(2, 2, image::Rgb([u8::try_from(at).unwrap(), 0, 0]));
            pixel.save(root.join(class).join(format!("{at}.png"))).unwrap();
        }
    }
}

#[test]
fn class_folders_are_split_or_taken_as_split() {
    let folder = tempfile::tempdir().unwrap();
    folders(folder.path(), &["cat", "dog"], 10);
    let source = || DatasetSource::Folder(folder.path().into());
    let dataset = Dataset::read(&source(), 1).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (16, 4));
    assert_eq!(dataset.frame(Split::Test, 0).unwrap().width, 2);
    folders(&folder.path().join("train"), &["cat", "dog"], 3);
    assert!(read(source()).contains("neither test/ nor val/"));
    folders(&folder.path().join("val"), &["cat", "dog"], 2);
    assert_eq!(Dataset::read(&source(), 1).unwrap().test.len(), 4);
    folders(&folder.path().join("val"), &["emu"], 2);
    assert!(read(source()).contains("`emu`"));
    let one = tempfile::tempdir().unwrap();
    folders(one.path(), &["cat"], 4);
    assert!(read(DatasetSource::Folder(one.path().into())).contains("one class"));
    fs::create_dir(one.path().join("dog")).unwrap();
    assert!(read(DatasetSource::Folder(one.path().into())).contains("`dog` has no JPEG"));
}

#[test]
fn domain_folders_give_domains() {
    let folder = tempfile::tempdir().unwrap();
    for domain in ["day", "night"] {
        folders(&folder.path().join(domain), &["cat", "dog"], 5);
    }
    let dataset = Dataset::read(&DatasetSource::Folder(folder.path().into()), 1).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    let night = dataset.train.iter().filter(|picture| picture.domain == 1);
    let is_of_night = |picture: &Picture| match &picture.pixels {
        Pixels::File(path) => path.components().any(|part| part.as_os_str() == "night"),
        Pixels::Planes { .. } | Pixels::Grey { .. } => false,
    };
    assert!(night.clone().count() == 8 && night.clone().all(is_of_night));
}

#[test]
fn sources_parse() {
    assert_eq!("cifar100:a/b".parse::<DatasetSource>().unwrap(), DatasetSource::Cifar100("a/b".into()));
    assert!("cifar10:a".parse::<DatasetSource>().is_err() && "folder:".parse::<DatasetSource>().is_err());
}
