//! The partitions of a table that is made up, sent in turns: row after row as they were made.
//!
//! ```text
//!   partition 0: rows 0, 3, 6 ..  ─┐
//!   partition 1: rows 1, 4, 7 ..  ─┼─ the one whose next row is the earliest ──▶ 0, 1, 2, 3, 4 ..
//!   partition 2: rows 2, 5, 8 ..  ─┘
//! ```
//!
//! One after the other, all that the second holds would be older than what the first ended with, and
//! late for whoever reads by event time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::input::{Opened, Part, TableRows};
use super::position::{Position, Positions};
use super::send::Sender;
use crate::connector::{ConnectorError, Reader};
use crate::types::Offset;

/// A part that is being sent.
struct Turn<'a> {
    part: &'a Part,
    reader: Box<dyn Reader>,
    rows: TableRows,
    /// The position behind what was sent.
    offset: Offset,
    /// The position behind what was read.
    read: Offset,
}

/// Whether parts are sent in turns.
pub(super) fn takes_turns(parts: &[&Part]) -> bool {
    parts.len() > 1 && parts.iter().all(|part| part.source.is_dealt())
}

/// Sends what of the parts of a table has not been sent.
pub(super) fn send_in_turns(
    sender: &mut Sender<'_>,
    opened: &Opened,
    parts: &[&Part],
    positions: &Positions,
) -> Result<(), ConnectorError> {
    let mut turns = Vec::new();
    for &part in parts {
        let Position { offset, ended, .. } = sender.begin_part(part, positions.of_part(part));
        if !ended {
            turns.push(Turn {
                part,
                reader: part.source.open(part.index, offset)?,
                rows: opened.rows(part).expect("made-up rows are a table's"),
                offset,
                read: offset,
            });
        }
    }
    // Those that have not been read come first: where their next row is, is not known yet.
    let mut next: BinaryHeap<Reverse<(Offset, usize)>> = turns
        .iter()
        .enumerate()
        .map(|(index, turn)| Reverse((turn.offset, index)))
        .collect();
    while let Some(Reverse((_, index))) = next.pop() {
        if sender.has_enough() {
            break;
        }
        let turn = &mut turns[index];
        if turn.rows.place().is_some() {
            turn.send(sender)?;
        }
        if turn.rows.place().is_none() && !turn.read_on(sender)? {
            continue;
        }
        let place = turn.rows.place().unwrap_or(turn.read);
        next.push(Reverse((place, index)));
    }
    Ok(())
}

impl Turn<'_> {
    /// Sends its next row.
    fn send(&mut self, sender: &mut Sender<'_>) -> Result<(), ConnectorError> {
        let Some((message, next)) = self.rows.make() else {
            return Ok(());
        };
        sender.send_message(self.part, message, (&mut self.offset, next))
    }

    /// Goes on to the next block. Whether there is one; it may be one of no rows.
    fn read_on(&mut self, sender: &mut Sender<'_>) -> Result<bool, ConnectorError> {
        sender.advance(self.part, &mut self.offset, self.read);
        sender.served()?;
        let Some(block) = self.reader.next()? else {
            sender.end_part(self.part)?;
            return Ok(false);
        };
        self.rows.take((self.part, &block), sender.progress)?;
        self.read = block.end;
        Ok(true)
    }
}
