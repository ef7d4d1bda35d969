//! Snapshots in a folder, and what becomes of them when the folder is tampered with.

use std::sync::Arc;

use arrow::array::Int64Array;
use tempfile::TempDir;

use super::*;
use crate::types::Recipe;

fn state(values: &[i64]) -> Vec<RecordBatch> {
    let column = Arc::new(Int64Array::from(values.to_vec()));
    vec![RecordBatch::try_from_iter([("n", column as _)]).unwrap()]
}

fn snapshots(folder: &TempDir) -> Snapshots {
    Snapshots::new(Store::at(folder.path()))
}

fn part(epoch: u64, incarnation: u64) -> PartOf<'static> {
    PartOf {
        epoch: Epoch(epoch),
        operator: "aggregate 1",
        worker: 0,
        incarnation,
    }
}

/// A snapshot at `epoch` of one operator that holds `epoch`.
fn take(snapshots: &Snapshots, epoch: u64) -> Manifest {
    let batches = state(&[epoch as i64]);
    let part = snapshots.write_part(part(epoch, 1), &batches).unwrap();
    let facts = Facts {
        epoch: Epoch(epoch),
        sources: BTreeMap::new(),
        fates: Vec::new(),
    };
    let manifest = Manifest::new("f".to_owned(), 7, facts, part.into_iter().collect(), 3);
    snapshots.publish(&manifest).unwrap();
    manifest
}

fn listed(snapshots: &Snapshots) -> Vec<(u64, bool)> {
    let list = snapshots.list().unwrap().into_iter();
    list.map(|(epoch, manifest)| (epoch.0, manifest.is_ok()))
        .collect()
}

fn mark(epoch: u64) -> Option<Mark> {
    Some(Mark {
        generation: 1,
        incarnation: 1,
        life: 7,
        epoch: Epoch(epoch),
        recipe: Recipe {
            fingerprint: "f".to_owned(),
            ..Recipe::default()
        },
        sources: BTreeMap::new(),
    })
}

/// The name of an index has those of columns in it, and what rows are ordered by.
#[test]
fn an_operator_of_any_name_has_a_part() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let long = "x".repeat(500);
    for operator in [
        "index 1 by größe in the order of price * qty DESC",
        "a/b%",
        &long,
    ] {
        let of = PartOf {
            operator,
            ..part(3, 1)
        };
        let part = snapshots.write_part(of, &state(&[3])).unwrap().unwrap();
        assert_eq!(part.operator, operator);
        assert_eq!(snapshots.read(&part).unwrap(), state(&[3]));
        assert_eq!(part.object.split('/').count(), 2);
    }
}

#[test]
fn the_last_two_are_kept_and_read_back() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);

    let manifests = [3, 8, 20].map(|epoch| take(&snapshots, epoch));

    assert_eq!(listed(&snapshots), [(20, true), (8, true)]);
    assert_eq!(
        snapshots.state(&manifests[2], "aggregate 1").unwrap(),
        state(&[20])
    );
    assert_eq!(snapshots.state(&manifests[2], "latest 2").unwrap(), []);
    // Nothing of the deleted one is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn parts_without_a_manifest_are_no_snapshot_and_go_when_they_are_old() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    for epoch in [1, 99] {
        snapshots.write_part(part(epoch, 1), &state(&[0])).unwrap();
    }

    take(&snapshots, 3);
    take(&snapshots, 8);

    assert_eq!(listed(&snapshots), [(8, true), (3, true)]);
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.parse::<u64>().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, [3, 8, 99]);
}

#[test]
fn a_start_that_was_fenced_does_not_overwrite_the_parts_of_the_next_one() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let manifest = take(&snapshots, 3);

    snapshots.write_part(part(3, 2), &state(&[-3])).unwrap();

    assert_eq!(
        snapshots.state(&manifest, "aggregate 1").unwrap(),
        state(&[3])
    );
}

#[test]
fn a_torn_or_altered_part_is_found_and_a_broken_manifest_too() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let manifest = take(&snapshots, 3);
    assert!(snapshots.verify(&manifest).is_ok());
    let part = folder.path().join(&manifest.parts[0].object);

    let whole = std::fs::read(&part).unwrap();
    std::fs::write(&part, &whole[..whole.len() - 1]).unwrap();
    let torn = snapshots.verify(&manifest).unwrap_err().to_string();
    assert!(torn.contains("bytes and should have"), "{torn}");

    let mut altered = whole;
    altered[40] ^= 1;
    std::fs::write(&part, altered).unwrap();
    assert!(snapshots.verify(&manifest).is_err());

    std::fs::write(folder.path().join(manifest_object(Epoch(3))), "{}").unwrap();
    assert_eq!(listed(&snapshots), [(3, false)]);
}

#[test]
fn what_is_from_after_a_mark_that_went_back_is_forgotten() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    take(&snapshots, 3);
    take(&snapshots, 8);

    assert_eq!(snapshots.forget_after(Epoch(5), 6).unwrap(), []);
    assert_eq!(snapshots.forget_after(Epoch(8), 7).unwrap(), []);
    assert_eq!(snapshots.forget_after(Epoch(5), 7).unwrap(), [Epoch(8)]);
    assert_eq!(listed(&snapshots), [(3, true)]);

    // Whose it is cannot be told now, but may be later.
    take(&snapshots, 9);
    std::fs::write(folder.path().join(manifest_object(Epoch(9))), "{}").unwrap();
    assert_eq!(snapshots.forget_after(Epoch(5), 7).unwrap(), [Epoch(9)]);
    assert_eq!(listed(&snapshots), [(3, true)]);
}

#[test]
fn what_was_read_to_be_verified_is_not_read_again() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let manifest = take(&snapshots, 3);
    let part = &manifest.parts[0];
    let expected = snapshots.state(&manifest, &part.operator).unwrap();
    let state = || snapshots.state(&manifest, &part.operator);

    snapshots.fetch(&manifest).unwrap();
    for part in &manifest.parts {
        std::fs::remove_file(folder.path().join(&part.object)).unwrap();
    }

    assert_eq!(state().unwrap(), expected);
    assert!(state().is_err(), "it is kept until it is used");
    snapshots.forget_fetched();
}

#[test]
fn what_was_read_ahead_is_not_read_again_and_what_is_another_is() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let [older, newest] = [3, 8].map(|epoch| take(&snapshots, epoch));
    let object = |manifest: &Manifest| folder.path().join(&manifest.parts[0].object);
    let state_of = |manifest: &Manifest| snapshots.state(manifest, "aggregate 1");

    snapshots.read_ahead("f");
    std::fs::remove_file(object(&newest)).unwrap();

    snapshots.fetch(&newest).unwrap();
    assert_eq!(state_of(&newest).unwrap(), state(&[8]));
    snapshots.fetch(&older).unwrap();
    assert_eq!(state_of(&older).unwrap(), state(&[3]));
    // From here on it is known what is wanted.
    snapshots.read_ahead("f");
    std::fs::remove_file(object(&older)).unwrap();
    assert!(state_of(&older).is_err());
}

#[test]
fn what_was_read_ahead_of_another_plan_is_not_what_is_wanted() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let newest = take(&snapshots, 8);

    snapshots.read_ahead("g");
    std::fs::remove_file(folder.path().join(&newest.parts[0].object)).unwrap();

    assert!(snapshots.fetch(&newest).is_err());
}

#[test]
fn one_of_a_newer_version_is_not_read() {
    let folder = TempDir::new().unwrap();
    let snapshots = snapshots(&folder);
    let manifest = Manifest {
        version: VERSION + 1,
        ..take(&snapshots, 3)
    };
    snapshots.publish(&manifest).unwrap();

    let (_, read) = snapshots.list().unwrap().remove(0);

    assert_eq!(
        read.unwrap_err().to_string(),
        "its format is version 2, and this program reads up to 1"
    );
}

#[test]
fn it_serves_a_run_whose_destinations_are_all_at_or_past_it() {
    let folder = TempDir::new().unwrap();
    let manifest = take(&snapshots(&folder), 8);

    assert!(manifest.serves("f", &[mark(8), mark(11)]));
    assert!(!manifest.serves("f", &[mark(7), mark(11)]));
    assert!(!manifest.serves("f", &[mark(8), None]));
    assert!(!manifest.serves("g", &[mark(8)]));
    assert!(!manifest.serves("f", &[]));
    let reborn = mark(11).map(|mark| Mark { life: 8, ..mark });
    assert!(!manifest.serves("f", &[reborn]));
}
