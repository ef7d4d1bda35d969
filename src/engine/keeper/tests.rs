//! The keeper with a store that refuses some of what is written.

use std::sync::Arc;

use arrow::array::Int64Array;
use tempfile::TempDir;

use super::*;
use crate::durability::Store;

const INTERVAL: Duration = Duration::from_millis(1);

/// A keeper of one operator on two workers, for a destination that holds everything.
fn keeper(folder: &TempDir, shared: &Arc<Shared>) -> (Arc<Keeper>, JoinHandle<()>) {
    let spec = KeeperSpec {
        fingerprint: "f".to_owned(),
        life: 7,
        incarnation: 1,
        parts: 2,
        held: vec![Epoch(u64::MAX)],
        interval: INTERVAL,
        show: Box::new(|_| ()),
        others: Others::None,
    };
    let crash = Arc::new(CrashPoint::new(None));
    let snapshots = Arc::new(Snapshots::new(Store::at(folder.path())));
    let world = (shared, &Clock::machine());
    Keeper::start(snapshots, None, spec, &crash, world)
}

/// Waits until a snapshot is asked for.
fn asked(shared: &Shared) -> bool {
    let clock = Clock::machine();
    let end = Duration::from_secs(20);
    while !shared.take_cut() {
        if clock.elapsed() > end {
            return false;
        }
        clock.wait_until(clock.elapsed() + INTERVAL);
    }
    true
}

/// All that is told for a snapshot at `epoch`.
fn tell(keeper: &Keeper, epoch: Epoch) {
    save(keeper, epoch);
    finish(keeper, epoch);
}

/// Both workers save their state.
fn save(keeper: &Keeper, epoch: Epoch) {
    for worker in 0..2 {
        let column = Arc::new(Int64Array::from(vec![1, 2, 3]));
        keeper.save(Part {
            epoch,
            worker,
            operator: "aggregate 1".to_owned(),
            batches: vec![RecordBatch::try_from_iter([("n", column as _)]).unwrap()],
        });
    }
}

/// Every operator has passed the epoch.
fn finish(keeper: &Keeper, epoch: Epoch) {
    keeper.tell(Word::Passed(epoch));
    keeper.tell(Word::Facts(Facts {
        epoch,
        sources: BTreeMap::new(),
        fates: Vec::new(),
    }));
}

/// Whichever part it is that cannot be written, and also if it is the last: the next snapshot is
/// asked for and kept.
#[test]
fn a_part_that_cannot_be_written_costs_one_snapshot_and_no_more() {
    for worker in 0..2 {
        let folder = TempDir::new().unwrap();
        let in_the_way = format!("{:020}/aggregate-1.{worker}.{:016x}.arrow", 5, 1);
        std::fs::create_dir_all(folder.path().join(&in_the_way).join("x")).unwrap();
        let shared = Arc::new(Shared::default());
        let (keeper, thread) = keeper(&folder, &shared);

        for epoch in [Epoch(5), Epoch(9), Epoch(12)] {
            assert!(asked(&shared), "none was asked for at {epoch}");
            tell(&keeper, epoch);
        }
        keeper.close();
        thread.join().unwrap();

        assert_eq!(listed(&folder), [12, 9], "worker {worker}");
    }
}

/// The snapshots that there are.
fn listed(folder: &TempDir) -> Vec<u64> {
    let listed = Snapshots::new(Store::at(folder.path())).list().unwrap();
    listed.iter().map(|(epoch, _)| epoch.0).collect()
}

/// The row is well again when the keeper looks, and was not when the state was cut.
#[test]
fn an_epoch_that_ends_with_a_row_left_out_has_no_snapshot() {
    let folder = TempDir::new().unwrap();
    let shared = Arc::new(Shared::default());
    let (keeper, thread) = keeper(&folder, &shared);

    assert!(asked(&shared));
    shared.leaves_out(Epoch(5), 1);
    shared.leaves_out(Epoch(6), -1);
    tell(&keeper, Epoch(5));
    assert!(asked(&shared));
    // What comes later is no matter either.
    shared.leaves_out(Epoch(10), 1);
    tell(&keeper, Epoch(9));
    keeper.close();
    thread.join().unwrap();

    assert_eq!(listed(&folder), [9]);
}

/// What an operator leaves out of an epoch it may say when all state of it is saved.
#[test]
fn a_snapshot_waits_until_every_operator_has_passed_its_epoch() {
    let folder = TempDir::new().unwrap();
    let shared = Arc::new(Shared::default());
    let (keeper, thread) = keeper(&folder, &shared);

    assert!(asked(&shared));
    save(&keeper, Epoch(5));
    assert_eq!(keeper.saved_last(), Epoch(5));
    shared.leaves_out(Epoch(5), 1);
    finish(&keeper, Epoch(5));
    assert!(asked(&shared), "it is over");
    keeper.close();
    thread.join().unwrap();

    assert!(listed(&folder).is_empty());
}
