//! What flows along an edge: Arrow batches addressed to a worker, and sources' reports.
//!
//! ```text
//!   operator ──▶ Packets [ Rows { target, lane, batch } | Report { target, .. } ] ──▶ worker
//! ```
//!
//! A packet is routed whole: the sender has already cut its rows by target, so the exchange
//! neither hashes nor copies. Between threads a packet is moved; between processes it is
//! encoded once, batches as Arrow IPC with their schema, so that nothing has to be agreed on
//! beforehand.

use std::cell::OnceCell;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::container::Accountable;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

use super::report::Report;

/// One thing on its way to one worker.
#[derive(Clone, Debug)]
pub enum Packet {
    /// Rows for a worker. `lane` tells apart the tables that share a publisher.
    Rows {
        /// The worker.
        target: usize,
        /// Which of the receiver's inputs.
        lane: usize,
        /// The rows.
        batch: RecordBatch,
    },
    /// What a source partition has to say at the end of an epoch, for a worker.
    Report {
        /// The worker.
        target: usize,
        /// The words.
        report: Report,
    },
}

impl Packet {
    /// Rows for a worker whose receiver has no lanes.
    pub fn rows(target: usize, batch: RecordBatch) -> Self {
        Self::Rows {
            target,
            lane: 0,
            batch,
        }
    }

    /// The worker that it is for.
    pub fn target(&self) -> usize {
        match self {
            Self::Rows { target, .. } | Self::Report { target, .. } => *target,
        }
    }
}

/// The container of packets. Progress counts packets, never rows: a batch of no rows counts.
#[derive(Default, Debug)]
pub struct Packets {
    /// In the order they were sent.
    pub packets: Vec<Packet>,
    encoded: OnceCell<Vec<u8>>,
}

impl Clone for Packets {
    fn clone(&self) -> Self {
        Self::from(self.packets.clone())
    }
}

impl From<Vec<Packet>> for Packets {
    fn from(packets: Vec<Packet>) -> Self {
        Self {
            packets,
            encoded: OnceCell::new(),
        }
    }
}

impl Accountable for Packets {
    fn record_count(&self) -> i64 {
        i64::try_from(self.packets.len()).expect("a container holds far fewer packets")
    }
}

const ROWS: u8 = 0;
const REPORT: u8 = 1;

impl Packets {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for packet in &self.packets {
            let (kind, lane, body) = match packet {
                Packet::Rows { lane, batch, .. } => (ROWS, *lane, encode_batch(batch)),
                Packet::Report { report, .. } => (
                    REPORT,
                    0,
                    serde_json::to_vec(report).expect("a report is plain data"),
                ),
            };
            bytes.push(kind);
            for number in [packet.target(), lane, body.len()] {
                bytes.extend_from_slice(&(number as u64).to_le_bytes());
            }
            bytes.extend_from_slice(&body);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut packets = Vec::new();
        let mut rest = bytes;
        while let Some((&kind, after)) = rest.split_first() {
            let number = |i: usize| {
                let bytes = after[i * 8..i * 8 + 8].try_into().expect("eight bytes");
                usize::try_from(u64::from_le_bytes(bytes)).expect("was a usize when encoded")
            };
            let (target, lane, len) = (number(0), number(1), number(2));
            let body = &after[24..24 + len];
            packets.push(match kind {
                ROWS => Packet::Rows {
                    target,
                    lane,
                    batch: decode_batch(body),
                },
                REPORT => Packet::Report {
                    target,
                    report: serde_json::from_slice(body).expect("encoded by this program"),
                },
                other => panic!("packet kind {other} was never written"),
            });
            rest = &after[24 + len..];
        }
        Self::from(packets)
    }
}

fn encode_batch(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())
        .expect("writing into memory does not fail");
    writer
        .write(batch)
        .expect("writing into memory does not fail");
    writer
        .into_inner()
        .expect("writing into memory does not fail")
}

fn decode_batch(bytes: &[u8]) -> RecordBatch {
    StreamReader::try_new(bytes, None)
        .expect("encoded by this program")
        .next()
        .expect("one batch was written")
        .expect("encoded by this program")
}

impl ContainerBytes for Packets {
    // The frame is: length of what follows, the packets, padding to a multiple of eight.
    fn length_in_bytes(&self) -> usize {
        8 + self
            .encoded
            .get_or_init(|| self.encode())
            .len()
            .next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let encoded = self.encoded.get_or_init(|| self.encode());
        let padding = encoded.len().next_multiple_of(8) - encoded.len();
        let length = (encoded.len() as u64).to_le_bytes();
        for part in [&length[..], encoded, &[0u8; 8][..padding]] {
            writer
                .write_all(part)
                .expect("timely's buffers do not fail");
        }
    }

    fn from_bytes(bytes: Bytes) -> Self {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let length = usize::try_from(length).expect("was a usize when encoded");
        Self::decode(&bytes[8..8 + length])
    }
}

/// Sends each packet to the worker that it names.
pub struct ToTarget;

impl Distributor<Packets> for ToTarget {
    fn partition<T: Clone, P: Push<Message<T, Packets>>>(
        &mut self,
        container: &mut Packets,
        time: &T,
        pushers: &mut [P],
    ) {
        for packet in container.packets.drain(..) {
            let target = packet.target();
            let mut single = Packets::from(vec![packet]);
            Message::push_at(&mut single, time.clone(), &mut pushers[target]);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Packets>>>(&mut self, _: &T, _: &mut [P]) {}
}

/// The pact of every exchanged edge.
#[must_use]
pub fn route() -> DistributorPact<fn(usize) -> ToTarget> {
    DistributorPact(|_peers| ToTarget)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn packets_survive_the_wire() {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as _),
            ("s", Arc::new(StringArray::from(vec!["a", "b"])) as _),
        ])
        .unwrap();
        let rows = Packet::Rows {
            target: 3,
            lane: 1,
            batch: batch.clone(),
        };
        let report = Packet::Report {
            target: 2,
            report: Report::default(),
        };
        let packets = Packets::from(vec![rows, report]);

        let mut bytes = Vec::new();
        packets.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), packets.length_in_bytes());
        assert_eq!(bytes.len() % 8, 0);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let back = Packets::decode(&bytes[8..8 + length]);

        assert_eq!(back.packets.len(), 2);
        let Packet::Rows {
            target: 3,
            lane: 1,
            batch: other,
        } = &back.packets[0]
        else {
            panic!("{:?}", back.packets[0])
        };
        assert_eq!(other, &batch);
        assert!(matches!(&back.packets[1], Packet::Report { target: 2, .. }));
    }
}
