//! The search for the highest rate that is held: doubled until it is not, then halved in between. Pure.

/// How often the gap is halved once both sides are known: to an eighth.
const HALVINGS: u32 = 3;

/// No machine holds more than so many times what was guessed.
const DOUBLINGS: u32 = 8;

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    next: u64,
    held: Option<u64>,
    missed: Option<u64>,
    steps: u32,
}

impl Search {
    /// A search that begins with a guess.
    pub fn new(guess: u64) -> Self {
        Self {
            next: guess.max(1),
            held: None,
            missed: None,
            steps: 0,
        }
    }

    /// The rate to try next, or none: the search is over.
    pub fn next(&self) -> Option<u64> {
        let most = match (self.held, self.missed) {
            (Some(_), Some(_)) => HALVINGS,
            (Some(_), None) | (None, _) => DOUBLINGS,
        };
        (self.steps < most && self.next > 0).then_some(self.next)
    }

    /// The rate tried last was held, or not.
    pub fn tell(&mut self, held: bool) {
        let both = self.held.is_some() && self.missed.is_some();
        *(if held {
            &mut self.held
        } else {
            &mut self.missed
        }) = Some(self.next);
        self.steps += 1;
        self.next = match (self.held, self.missed) {
            (Some(held), Some(missed)) => {
                if !both {
                    self.steps = 0;
                }
                held + (missed - held) / 2
            }
            (Some(held), None) => held * 2,
            (None, Some(missed)) => missed / 2,
            (None, None) => unreachable!("one of them was told above"),
        };
    }

    /// The highest rate that was held.
    pub fn held(&self) -> Option<u64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: u64, guess: u64) -> (Option<u64>, usize) {
        let mut search = Search::new(guess);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.tell(rate <= limit);
            tried += 1;
        }
        (search.held(), tried)
    }

    #[test]
    fn the_highest_rate_is_found_to_an_eighth_of_its_double() {
        for (limit, guess) in [(100_000, 10_000), (10_000, 100_000), (77_777, 50_000)] {
            let (held, tried) = found(limit, guess);
            let held = held.expect("some rate is held");
            assert!(held <= limit && held * 8 >= limit * 7, "{held} of {limit}");
            assert!(tried < 10, "{tried}");
        }
    }

    #[test]
    fn a_search_ends_where_nothing_is_held_and_where_everything_is() {
        assert_eq!(found(0, 50_000).0, None);
        assert_eq!(found(u64::MAX, 10).0, Some(1280));
    }
}
