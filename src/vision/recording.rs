//! A recording: a folder of pictures and `labels.csv` with a row per frame.

use std::fs::File;
use std::path::{Component, Path};

use super::frame::Split;
use super::pictures::{Picture, Pictures};
use super::source::SourceOptions;
use crate::error::{Error, Result};

/// The file that makes a folder a recording.
pub(crate) const LABELS_FILE: &str = "labels.csv";
/// The columns of the file, in any order, all of them.
const COLUMNS: [&str; 4] = ["frame", "timestamp_millis", "label", "split"];

/// Opens the recording in `folder`: its frames in the order of its `labels.csv`, which has the
/// columns `frame,timestamp_millis,label,split`: path relative to the folder, time, class name
/// (empty: unlabelled), and `train` or `test`. The whole table is checked.
///
/// # Errors
/// [`Error::Source`] if the folder or its `labels.csv` is missing, or the table is empty or has a
/// wrong column or row (named by its line number); [`Error::Io`] if it cannot be read.
pub(super) fn open(folder: &Path, uri: &str, options: &SourceOptions) -> Result<Pictures> {
    let refuse = |reason: String| Error::Source { uri: uri.to_owned(), reason };
    if !folder.is_dir() {
        return Err(refuse("there is no such folder".to_owned()));
    }
    let table = folder.join(LABELS_FILE);
    if !table.is_file() {
        let header = COLUMNS.join(",");
        return Err(refuse(format!(
            "the folder has no {LABELS_FILE}; it needs one with the header {header}"
        )));
    }
    let file = File::open(&table).map_err(Error::io(&table))?;
    let root = folder.canonicalize().map_err(Error::io(folder))?;
    let pictures = read_rows(file, &root).map_err(|reason| refuse(format!("{LABELS_FILE}: {reason}")))?;
    let mut source = Pictures::new(uri, pictures, options.max_pixels);
    source.root = Some(root);
    Ok(source)
}

/// Returns all rows, or the reason why the table is refused.
fn read_rows(table: impl std::io::Read, root: &Path) -> Result<Vec<Picture>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(table);
    let header = reader.headers().map_err(|error| error.to_string())?;
    let columns = column_positions(header)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_reason(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(row(&record, columns, root).map_err(|reason| format!("line {line}: {reason}"))?);
    }
    if rows.is_empty() {
        return Err("it has a header and no rows".to_owned());
    }
    Ok(rows)
}

/// Returns where each of [`COLUMNS`] stands in the header.
fn column_positions(header: &csv::StringRecord) -> Result<[usize; 4], String> {
    let right = format!("the columns are {}", COLUMNS.join(", "));
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(format!("unknown column `{unknown}`; {right}"));
    }
    let mut positions = [0; 4];
    for (position, column) in positions.iter_mut().zip(COLUMNS) {
        let mut places =
            header.iter().enumerate().filter(|(_, name)| *name == column).map(|(place, _)| place);
        *position = places.next().ok_or_else(|| format!("column `{column}` is missing; {right}"))?;
        if places.next().is_some() {
            return Err(format!("column `{column}` stands there twice; {right}"));
        }
    }
    Ok(positions)
}

fn csv_reason(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {len} fields, needed are {expected_len} (quote a field that holds a comma)")
        }
        csv::ErrorKind::Utf8 { .. } => format!("line {line}: not UTF-8 text"),
        _ => error.to_string(),
    }
}

fn row(record: &csv::StringRecord, columns: [usize; 4], root: &Path) -> Result<Picture, String> {
    let [frame, timestamp, label, split] = columns.map(|column| record.get(column).unwrap_or_default());
    if frame.is_empty() {
        return Err("frame is empty; it is a path within the folder".to_owned());
    }
    if !is_inside(Path::new(frame)) {
        return Err(format!("frame `{frame}` leaves the folder; paths are relative and without `..`"));
    }
    let timestamp_millis = timestamp
        .parse()
        .map_err(|_| format!("timestamp_millis is `{timestamp}`; it is a whole number of milliseconds"))?;
    let split = Split::from_name(split).ok_or_else(|| format!("split is `{split}`; it is train or test"))?;
    let label = (!label.is_empty()).then(|| label.to_owned());
    let (path, name) = (root.join(frame), frame.to_owned());
    Ok(Picture { path, name, timestamp_millis, label, split, bbox: None })
}

/// Returns whether a relative path stays within its folder, links aside.
pub(super) fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{jpeg, ramp};
    use super::super::open::open;
    use super::*;

    const HEADER: &str = "frame,timestamp_millis,label,split\n";

    fn recording(table: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        for name in ["0.jpg", "1.jpg"] {
            std::fs::write(folder.path().join("frames").join(name), jpeg(&ramp(8, 6, 3))).unwrap();
        }
        std::fs::write(folder.path().join(LABELS_FILE), table).unwrap();
        folder
    }

    fn refusal(table: &str) -> String {
        let folder = recording(table);
        match open(&format!("recording://{}", folder.path().display()), &SourceOptions::default()).err() {
            Some(Error::Source { reason, .. }) => reason,
            other => panic!("{table}: {other:?}"),
        }
    }

    #[test]
    fn rows_become_frames() {
        // A byte order mark, other column order, spaces, CRLF, a quoted comma.
        let folder = recording(
            "\u{feff}split,label,frame,timestamp_millis\r\ntrain,\"cup, red\",frames/0.jpg,0\r\n\
             test, ,./frames/1.jpg,33\r\n",
        );
        for uri in [format!("recording://{}", folder.path().display()), folder.path().display().to_string()] {
            let mut source = open(&uri, &SourceOptions::default()).unwrap();
            assert_eq!(
                (source.frames_hint(), source.is_live(), source.uri()),
                (Some(2), false, uri.as_str())
            );
            let first = source.next_frame().unwrap().unwrap();
            assert_eq!((first.label.as_deref(), first.split), (Some("cup, red"), Split::Train));
            let second = source.next_frame().unwrap().unwrap();
            assert_eq!((second.label, second.split, second.timestamp_millis), (None, Split::Test, 33));
            assert_eq!(second.name, "./frames/1.jpg");
            assert!(source.next_frame().unwrap().is_none());
        }
    }

    #[test]
    fn columns_are_named_when_wrong() {
        let right = "the columns are frame, timestamp_millis, label, split";
        for (header, words) in [
            ("frame,timestamp_millis,label", "column `split` is missing"),
            ("frame,timestamp_ms,label,split", "unknown column `timestamp_ms`"),
            ("frame,timestamp_millis,label,split,split", "column `split` stands there twice"),
            ("frame", "column `timestamp_millis` is missing"),
        ] {
            let text = refusal(&format!("{header}\na,0,,train\n"));
            assert!(text.contains(words) && text.contains(right), "{text}");
        }
        assert!(refusal("").contains("column `frame` is missing"));
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        for (row, words) in [
            ("frames/1.jpg,x,,train", "timestamp_millis is `x`"),
            ("frames/1.jpg,-1,,train", "timestamp_millis is `-1`"),
            ("frames/1.jpg,0,,val", "split is `val`; it is train or test"),
            ("frames/1.jpg,0,train", "3 fields, needed are 4"),
            (",0,,train", "frame is empty"),
            ("../1.jpg,0,,train", "leaves the folder"),
            ("frames/../../1.jpg,0,,train", "leaves the folder"),
            ("/etc/hostname,0,,train", "leaves the folder"),
        ] {
            let text = refusal(&format!("{HEADER}frames/0.jpg,0,cup,train\n{row}\n"));
            assert!(text.starts_with("labels.csv: line 3: ") && text.contains(words), "{text}");
        }
        assert!(refusal(HEADER).contains("no rows"));
    }

    #[test]
    fn missing_parts_are_named() {
        let folder = recording(HEADER);
        std::fs::remove_file(folder.path().join(LABELS_FILE)).unwrap();
        let uri = format!("recording://{}", folder.path().display());
        let text = open(&uri, &SourceOptions::default()).err().unwrap().to_string();
        assert!(text.contains("no labels.csv") && text.contains(HEADER.trim()), "{text}");
        let text = open("recording://no/such", &SourceOptions::default()).err().unwrap().to_string();
        assert!(text.contains("no such folder"), "{text}");
    }

    #[test]
    fn a_missing_frame_costs_one_frame() {
        let folder = recording(&format!("{HEADER}frames/9.jpg,0,,train\nframes/1.jpg,1,,train\n"));
        let mut source = open(folder.path().to_str().unwrap(), &SourceOptions::default()).unwrap();
        assert!(matches!(source.next_frame(), Err(Error::Frame { name, .. }) if name == "frames/9.jpg"));
        assert_eq!(source.next_frame().unwrap().unwrap().timestamp_millis, 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let elsewhere = recording(HEADER);
        let folder = recording(&format!("{HEADER}out.jpg,0,,train\n"));
        let target = elsewhere.path().join("frames/0.jpg");
        std::os::unix::fs::symlink(target, folder.path().join("out.jpg")).unwrap();
        let mut source = open(folder.path().to_str().unwrap(), &SourceOptions::default()).unwrap();
        let error = source.next_frame().unwrap_err();
        assert!(
            matches!(error, Error::Frame { .. }) && error.to_string().contains("leaves the folder"),
            "{error}"
        );
    }
}
