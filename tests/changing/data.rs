//! Random tables to join and aggregate: few values, so that keys meet, and NULLs among them.

use std::fmt::Write as _;
use std::path::Path;

use crate::oracle::random::Random;

/// What every table has; `CREATE TABLE` of both sides.
pub const COLUMNS: &str = "k TEXT, g INT, n BIGINT NOT NULL, p NUMERIC(8, 2), b BOOLEAN, d DATE, \
                           at TIMESTAMP NOT NULL, seq BIGINT NOT NULL";

/// The tables' names.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// A table of the input; every file is a partition.
pub struct Table {
    pub name: &'static str,
    pub files: Vec<Vec<Line>>,
}

/// A record, and where it ends in its file.
pub struct Line {
    pub text: String,
    pub end: u64,
}

impl Table {
    pub fn random(random: &mut Random, name: &'static str, seq: &mut i64) -> Self {
        let domain = *random.pick(&[2, 5, 12]);
        let files = (0..random.between(1, 4))
            .map(|_| {
                let count = *random.pick(&[0, 1, 10, 25, 40]);
                let mut end = 0;
                (0..count)
                    .map(|_| {
                        *seq += 1;
                        let text = line(random, domain, *seq);
                        end += text.len() as u64 + 1;
                        Line { text, end }
                    })
                    .collect()
            })
            .collect();
        Self { name, files }
    }

    /// Writes the files into a folder of the table's name.
    pub fn write(&self, folder: &Path) {
        let folder = folder.join(self.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (index, lines) in self.files.iter().enumerate() {
            let mut text = String::new();
            for line in lines {
                let _ = writeln!(text, "{}", line.text);
            }
            std::fs::write(folder.join(format!("{index}.csv")), text).unwrap();
        }
    }

    /// Its declaration. Times are within an hour, so that no row is late.
    pub fn create(&self) -> String {
        format!(
            "CREATE TABLE {name} ({COLUMNS}, WATERMARK FOR at AS at - INTERVAL '2' HOUR)\n  \
             WITH (connector = 'file', path = '{name}/*.csv', format = 'csv', 'csv.header' = 'false');\n",
            name = self.name
        )
    }
}

/// A record.
pub fn line(random: &mut Random, domain: i64, seq: i64) -> String {
    const WORDS: [&str; 4] = ["x", "y", "zz", "Ü"];
    let some = |random: &mut Random, value: String| {
        if random.chance(15) {
            String::new()
        } else {
            value
        }
    };
    let word = (*random.pick(&WORDS)).to_owned();
    let (g, n) = (random.between(0, domain), random.between(-3, domain));
    let cents = random.between(0, 400);
    let price = format!("{}.{:02}", cents / 100, cents % 100);
    let (b, day) = (random.chance(50), random.between(1, 4));
    let seconds = random.between(0, 3600);
    [
        some(random, word),
        some(random, g.to_string()),
        n.to_string(),
        some(random, price),
        some(random, b.to_string()),
        some(random, format!("2024-05-0{day}")),
        format!("2024-05-01 12:{:02}:{:02}", seconds / 60, seconds % 60),
        seq.to_string(),
    ]
    .join(",")
}
