//! Plan to timely: each operator a pure core in a thin shell.
//!
//! | module | what it is |
//! |---|---|
//! | `zones` | which part of the plan runs on the source's worker |
//! | `step`, `assign`, `lookup`, `guard`, `chain` | the stateless operators of a source, on one batch |
//! | `source`, `partition`, `arrival` | arrivals in, rows and watermarks out |
//! | `schedule`, `pace`, `credit` | epochs closed, bytes on their way bounded |
//! | `letters`, `rejects` | the rows of a dead-letter table; when rejects are too many |
//! | `report`, `tide` | how an epoch's watermark becomes exact, and what sources see of it |
//! | `packet`, `roles`, `parts` | what flows along an edge, the columns it carries besides a node's own, and how large it is |
//! | `group`, `aggregate`, `latest`, `spread` | what keeps a row per group, and how rows come to it |
//! | `changing` | joins, and functions over partitions, on differential's arrangements |
//! | `framed` | what functions say of the ordered rows of a partition |
//! | `running` | the same of an append stream, whose rows come out once |
//! | `interval`, `asof` | joins of append streams, whose rows the watermark lets go |
//! | `keep`, `turns` | records kept for a time and then taken back, and how that time is counted |
//! | `compute`, `withheld` | the stateless operators behind state, and the rows that fail there |
//! | `seal`, `publish` | an epoch's changes, consolidated and handed to a destination |
//! | `state`, `named` | the one door to what operators remember, and how that is called |
//! | `faults` | what is said of a query that cannot be computed |
//! | `outcome` | what the threads of a run share: counts, the first failure, the wish to stop |
//! | `board`, `written` | what people may see of a run, and how old its records are |
//! | `shell`, `render` | the timely operators, and the dataflow they make |

pub mod aggregate;
pub mod arrival;
mod asof;
pub mod assign;
pub mod board;
pub mod chain;
pub mod changing;
pub mod compute;
pub mod credit;
mod faults;
#[cfg(test)]
mod fixtures;
pub mod framed;
pub mod group;
mod guard;
mod interval;
mod keep;
pub mod latest;
pub mod letters;
pub mod lookup;
mod matching;
pub mod named;
pub mod outcome;
pub mod pace;
pub mod packet;
mod partition;
mod parts;
pub mod publish;
mod ready;
mod rejects;
pub mod render;
pub mod report;
pub mod roles;
mod running;
pub mod schedule;
pub mod seal;
mod sequences;
mod share;
pub mod shell;
mod sided;
pub mod source;
mod spread;
pub mod state;
pub mod step;
pub mod tide;
pub mod turns;
pub mod withheld;
pub mod written;
pub mod zones;
