use super::super::{Memory, NewVersion, VersionId, VersionStatus};
use super::*;
use crate::Error;

fn version<'a>(heads: &'a [u8], figures: &'a VersionFigures) -> NewVersion<'a> {
    NewVersion { heads, head_kind: "trained", figures }
}

#[test]
fn newest_published_version_serves_until_it_is_rolled_back() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    assert!(memory.published().unwrap().is_none());
    let figures = figures("best");
    let first = memory.publish(version(b"one", &figures)).unwrap();
    let second = memory.publish(version(b"two", &figures)).unwrap();
    let refused = memory.record_rolled_back(version(b"bad", &figures)).unwrap();
    let serving = memory.published().unwrap().unwrap();
    assert_eq!((serving.entry.id, serving.heads.as_deref()), (second, Some(&b"two"[..])));
    assert_eq!((serving.entry.parent, serving.entry.figures.as_ref()), (Some(first), Some(&figures)));
    let turned_down = memory.history().unwrap().versions.pop().unwrap();
    assert_eq!((turned_down.id, turned_down.status), (refused, VersionStatus::RolledBack));
    assert_eq!(turned_down.parent, Some(second));
    let heads = "SELECT heads IS NULL FROM versions WHERE id=?1";
    assert!(memory.connection.query_row(heads, [refused.0], |row| row.get::<_, bool>(0)).unwrap());
    assert_eq!(memory.roll_back(second).unwrap(), Some(first));
    assert_eq!(memory.published().unwrap().unwrap().heads.as_deref(), Some(&b"one"[..]));
    for id in [second, refused, VersionId(99)] {
        assert!(matches!(memory.roll_back(id), Err(Error::NotFound { .. })));
    }
    let third = memory.publish(version(b"three", &figures)).unwrap();
    let versions = memory.history().unwrap().versions;
    assert_eq!((versions.len(), versions[3].id, versions[3].parent), (4, third, Some(first)));
    assert!(memory.check().unwrap().is_sound());
}

#[test]
fn training_state_is_replaced() {
    let mut memory = Memory::open(None, &identity()).unwrap();
    assert_eq!(memory.load_training().unwrap(), None);
    memory.save_training(b"one").unwrap();
    memory.save_training(b"second").unwrap();
    assert_eq!(memory.load_training().unwrap().as_deref(), Some(&b"second"[..]));
}
