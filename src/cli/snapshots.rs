//! `snapshots`: what state of a pipeline is kept, and whether it is whole.

use super::{FAILED, SnapshotsArgs, file, say};
use crate::durability::{Manifest, Snapshots, Store, Unusable};
use crate::engine::state_folder;
use crate::types::Epoch;

/// Lists the snapshots of a pipeline, the newest first.
pub fn snapshots(arguments: &SnapshotsArgs) -> u8 {
    let planned = match file::plan(&arguments.file) {
        Ok(planned) => planned,
        Err(code) => return code,
    };
    let folder = state_folder(&planned.pipeline, &planned.base, arguments.state.as_deref());
    let snapshots = Snapshots::new(Store::at(&folder));
    let listed = match snapshots.list() {
        Ok(listed) => listed,
        Err(error) => {
            say::err(&format!("error: {error}\n"));
            return FAILED;
        }
    };
    if listed.is_empty() {
        say::out(&format!("no snapshots in `{}`\n", snapshots.place()));
        return 0;
    }
    let header = ["epoch", "rows", "bytes", "parts", "took", "state"].map(str::to_owned);
    let fingerprint = &planned.pipeline.recipe.fingerprint;
    let judged: Vec<(Vec<String>, bool)> = listed
        .into_iter()
        .map(|(epoch, manifest)| {
            let verified = manifest.and_then(|manifest| {
                if arguments.verify {
                    snapshots.verify(&manifest)?;
                }
                Ok(manifest)
            });
            line(epoch, &verified, (fingerprint, arguments.verify))
        })
        .collect();
    let lines: Vec<Vec<String>> = judged.iter().map(|(line, _)| line.clone()).collect();
    say::out(&say::table(&header, &lines));
    let good = judged.iter().all(|(_, good)| *good);
    if good { 0 } else { FAILED }
}

/// A line of the table, and whether the snapshot is good.
fn line(
    epoch: Epoch,
    verified: &Result<Manifest, Unusable>,
    (fingerprint, read): (&str, bool),
) -> (Vec<String>, bool) {
    let mut line = vec![epoch.to_string()];
    match verified {
        Ok(manifest) => {
            let numbers = [manifest.rows(), manifest.bytes(), manifest.parts.len()];
            line.extend(numbers.map(|number| say::grouped(number as u64)));
            line.push(format!("{} ms", manifest.took_ms));
            line.push(match (manifest.fingerprint == fingerprint, read) {
                (false, _) => "of another version of the file".to_owned(),
                (true, true) => "whole".to_owned(),
                (true, false) => "not read".to_owned(),
            });
        }
        Err(error) => {
            line.extend(std::iter::repeat_n("-".to_owned(), 4));
            line.push(error.to_string());
        }
    }
    (line, verified.is_ok())
}
