//! The name that someone probably meant.

/// The name among `known` that `word` was most likely meant to be, if one is near: by the letters
/// to add, drop, change or swap with their neighbour.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len().max(word.len()).div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// The edits that make one word of another, a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let swap_or_keep = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = swap_or_keep.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: [&str; 4] = ["path", "format", "csv.header", "csv.delimiter"];

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        assert_eq!(nearest("paht", KNOWN), Some("path"));
        assert_eq!(nearest("Fromat", KNOWN), Some("format"));
        assert_eq!(nearest("csv.headers", KNOWN), Some("csv.header"));
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        assert_eq!(nearest("topic", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
    }

    #[test]
    fn the_nearest_name_allows_for_a_swap_and_a_missing_letter() {
        let known = ["topic", "format", "connector"];

        assert_eq!(nearest("topci", known), Some("topic"));
        assert_eq!(nearest("conector", known), Some("connector"));
        assert_eq!(nearest("url", known), None);
    }
}
