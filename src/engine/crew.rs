//! Who works: the processes of a run and the worker threads of each.

/// The place of this process among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crew {
    /// This process.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// Worker threads of each.
    pub threads: usize,
    /// How many partitions stand before those that are counted here.
    pub before: usize,
}

impl Crew {
    /// How many workers there are in all.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.processes * self.threads
    }

    /// The worker that owns a partition.
    #[must_use]
    pub fn owner(&self, partition: usize) -> usize {
        (self.before + partition) % self.workers()
    }

    /// The same crew for partitions that stand behind `before` others.
    #[must_use]
    pub fn behind(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// Which of this process' threads a worker is, if it is one of them.
    #[must_use]
    pub fn here(&self, worker: usize) -> Option<usize> {
        (worker / self.threads == self.process).then(|| worker % self.threads)
    }

    /// Which thread of this process owns a partition, if one does.
    #[must_use]
    pub fn thread_of(&self, partition: usize) -> Option<usize> {
        self.here(self.owner(partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_among_all_processes() {
        let crew = |process| Crew {
            process,
            processes: 3,
            threads: 2,
            before: 0,
        };

        for partition in 0..20 {
            let owners = (0..3).filter_map(|process| crew(process).thread_of(partition));
            assert_eq!(owners.count(), 1, "partition {partition}");
        }
        assert_eq!(crew(1).thread_of(9), Some(1));
        assert_eq!(crew(1).behind(3).thread_of(6), Some(1));
    }
}
