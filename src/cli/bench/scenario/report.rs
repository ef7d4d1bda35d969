//! What was measured, as a table and as a page with plots that needs no network.

use std::fmt::Write as _;

use super::rate::{Latency, Sought};
use super::{Limit, Measured, Measurements};
use crate::cli::say;
use crate::metrics::QUANTILES;

/// The least, the middle and the most of some numbers.
fn spread(mut numbers: Vec<f64>) -> [f64; 3] {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
    let last = numbers.len().saturating_sub(1);
    [
        at(0),
        f64::midpoint(at(last / 2), at(last.div_ceil(2))),
        at(last),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn float(number: u64) -> f64 {
    number as f64
}

impl Measured {
    fn rate(&self) -> f64 {
        float(self.records) / self.seconds.max(1e-9)
    }

    fn cpu_per_million(&self) -> f64 {
        (self.user_seconds + self.system_seconds) * 1e6 / float(self.records.max(1))
    }
}

impl Measurements {
    fn of(&self, number: impl Fn(&Measured) -> f64) -> [f64; 3] {
        spread(self.runs.iter().map(number).collect())
    }

    /// The run in the middle.
    fn middle(&self) -> &Measured {
        let mut runs: Vec<&Measured> = self.runs.iter().collect();
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        runs[runs.len() / 2]
    }

    fn share(&self, limit: &Limit) -> f64 {
        100.0 * self.of(Measured::rate)[1] / limit.records_per_second
    }
}

/// Where it was measured; then what, the limits beside it, and latency and rates where they were asked for.
pub fn table(all: &[Measurements]) -> String {
    let header = [
        "scenario",
        "records",
        "M records/s: min",
        "median",
        "max",
        "MB/s",
        "CPU s per M",
        "user",
        "system",
        "peak MB",
        "commits",
        "rows per commit",
        "commit ms: p50",
        "p99",
    ];
    let row = |of: &Measurements| {
        let [min, median, max] = of.of(|run| run.rate() / 1e6);
        let run = of.middle();
        let million = float(run.records.max(1)) / 1e6;
        let commit = |index: usize| run.commit_ms.get(index).map_or(String::new(), one);
        let mut row = vec![of.scenario.clone(), say::grouped(of.rows)];
        row.extend([min, median, max].iter().map(two));
        row.extend([
            whole(float(of.bytes) / 1e6 / run.seconds.max(1e-9)),
            two(&of.of(Measured::cpu_per_million)[1]),
            two(&(run.user_seconds / million)),
            two(&(run.system_seconds / million)),
            whole(of.of(|run| float(run.peak_bytes) / 1e6)[1]),
            say::grouped(run.commits),
            say::grouped(run.rows / run.commits.max(1)),
            commit(0),
            commit(2),
        ]);
        row
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let table = say::table(&header.map(str::to_owned), &rows);
    let parts = [
        origin(all),
        table,
        limits(all),
        latencies(all),
        searches(all),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("\n")
}

/// Where and when, and with which options. All of one call are of one machine.
fn origin(all: &[Measurements]) -> String {
    let Some(first) = all.first() else {
        return String::new();
    };
    let (runs, warm_up) = (first.runs.len(), first.warm_up);
    format!(
        "{}\n{} threads; median of {runs} after {warm_up} for warming up; CPU time in steps of 10 ms\n",
        first.origin.line(),
        first.threads
    )
}

fn limits(all: &[Measurements]) -> String {
    let header = [
        "scenario",
        "limit",
        "M records/s",
        "share of it %",
        "its CPU s per M",
    ];
    let rows = all.iter().flat_map(|of| {
        of.limits.iter().map(|limit| {
            let cpu = limit.measured.user_seconds + limit.measured.system_seconds;
            vec![
                of.scenario.clone(),
                limit.name.to_owned(),
                two(&(limit.records_per_second / 1e6)),
                one(&of.share(limit)),
                two(&(cpu * 1e6 / float(of.middle().records.max(1)))),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    say::table(&header.map(str::to_owned), &rows)
}

fn measured_latencies(all: &[Measurements]) -> impl Iterator<Item = (&Measurements, &Latency)> {
    all.iter().filter_map(|of| Some((of, of.latency.as_ref()?)))
}

fn latencies(all: &[Measurements]) -> String {
    let rows = measured_latencies(all).map(|(of, latency)| {
        let mut row = vec![of.scenario.clone(), say::grouped(latency.rate)];
        row.extend(latency.measured.latency_ms.iter().map(one));
        row.resize(2 + QUANTILES.len(), String::new());
        let grows = match latency.measured.latency_by_quarter_ms.as_slice() {
            [first, _, _, last] => one(&(last - first)),
            _ => String::new(),
        };
        row.extend([grows, one(&latency.behind_ms), of.seconds.to_string()]);
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let quantiles = QUANTILES
        .iter()
        .map(|(_, share)| format!("p{}, ms", share * 100.0));
    let header = ["scenario".to_owned(), "records/s".to_owned()].into_iter();
    let header = header
        .chain(quantiles)
        .chain(["p50 grows, ms", "load behind, ms", "for s"].map(str::to_owned));
    say::table(&header.collect::<Vec<_>>(), &rows)
}

fn searches(all: &[Measurements]) -> String {
    let rows = all.iter().filter_map(|of| {
        let Sought {
            bound_ms,
            held,
            tried,
        } = of.search.as_ref()?;
        let p99 = tried.iter().find(|step| Some(step.rate) == *held);
        let p99 = p99.and_then(|step| step.latency.as_ref()?.measured.latency_ms.get(2));
        let missed = tried.iter().filter(|step| step.why_not.is_some());
        let missed = missed.min_by_key(|step| step.rate);
        Some(vec![
            of.scenario.clone(),
            held.map_or("none".to_owned(), say::grouped),
            p99.map_or(String::new(), one),
            bound_ms.to_string(),
            missed.map_or("none".to_owned(), |step| say::grouped(step.rate)),
            missed.map_or(String::new(), |step| {
                let why = step.why_not.as_deref().unwrap_or_default();
                why.lines().next().unwrap_or_default().to_owned()
            }),
        ])
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "scenario",
        "highest rate held",
        "its p99, ms",
        "bound, ms",
        "lowest not held",
        "why not",
    ];
    say::table(&header.map(str::to_owned), &rows)
}

fn one(number: &f64) -> String {
    format!("{number:.1}")
}

fn two(number: &f64) -> String {
    format!("{number:.2}")
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "for people"
)]
fn whole(number: f64) -> String {
    say::grouped(number.round() as u64)
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b2733}h2{margin-top:2.5rem;font-size:1.1rem}p{color:#4a5a6a}pre{overflow-x:auto;background:#f4f6f8;\
padding:1rem;font-size:12px}text{font:13px system-ui,sans-serif;fill:#1b2733}.n{fill:#4a5a6a}\
.b{fill:#2f7fb8}.l{stroke:#c4502c;stroke-width:2}.w{stroke:#1b2733;stroke-width:1.5}\
@media(prefers-color-scheme:dark){body{background:#12181f;color:#e4eaf0}pre{background:#1b242e}p{color:#9fb0c0}\
text{fill:#e4eaf0}.n{fill:#9fb0c0}.w{stroke:#e4eaf0}}";

/// A page with plots.
pub fn page(all: &[Measurements]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>Tidemark under load</title>\n\
         <style>{STYLE}</style>\n<h1>Tidemark under load</h1>\n<p>{}</p>\n",
        escaped(&origin(all))
    );
    let rates = all.iter().map(|of| {
        let [min, median, max] = of.of(|run| run.rate() / 1e6);
        let limits = of.limits.iter().map(|limit| limit.records_per_second / 1e6);
        Bar {
            label: of.scenario.clone(),
            value: median,
            between: (min, max),
            mark: limits.min_by(f64::total_cmp),
        }
    });
    let note = "Median; the thin line is from the slowest to the fastest run. The red line is the nearest \
                limit, where it fits into the plot.";
    page.push_str(&plot(
        "Million records per second",
        note,
        &rates.collect::<Vec<_>>(),
    ));
    let cpu = all.iter().map(|of| {
        let [min, median, max] = of.of(Measured::cpu_per_million);
        Bar {
            label: of.scenario.clone(),
            value: median,
            between: (min, max),
            mark: None,
        }
    });
    let note = "Of Tidemark alone, user and system. Less is better.";
    page.push_str(&plot(
        "CPU seconds per million records",
        note,
        &cpu.collect::<Vec<_>>(),
    ));
    for (of, latency) in measured_latencies(all) {
        let bars = QUANTILES.iter().zip(&latency.measured.latency_ms);
        let bars = bars.map(|((_, share), &ms)| Bar {
            label: format!("p{}", share * 100.0),
            value: ms,
            between: (ms, ms),
            mark: None,
        });
        let title = format!("{}: latency in milliseconds", of.scenario);
        let note = format!(
            "{} records per second, from the time at which a record was due to the commit of its epoch.",
            say::grouped(latency.rate)
        );
        page.push_str(&plot(&title, &note, &bars.collect::<Vec<_>>()));
    }
    page.push_str("<h2>What the scenarios are</h2>\n<ul>\n");
    for of in all {
        let (name, about) = (escaped(&of.scenario), escaped(&of.about));
        writeln!(page, "<li><b>{name}</b>: {about}</li>").expect("strings take text");
    }
    let table = escaped(&table(all));
    write!(
        page,
        "</ul>\n<h2>All numbers</h2>\n<pre>{table}</pre>\n</html>\n"
    )
    .expect("strings take text");
    page
}

/// A line of a plot.
struct Bar {
    label: String,
    value: f64,
    between: (f64, f64),
    mark: Option<f64>,
}

/// Bars that lie, one below the other.
fn plot(title: &str, note: &str, bars: &[Bar]) -> String {
    const LEFT: f64 = 220.0;
    const WIDTH: f64 = 560.0;
    const STEP: f64 = 34.0;
    let most = bars.iter().map(|bar| bar.between.1.max(bar.value));
    let most = most.fold(0.0, f64::max).max(1e-9);
    let x = |value: f64| LEFT + WIDTH * value / (1.25 * most);
    let height = STEP * bars.iter().map(|_| 1.0).sum::<f64>() + 8.0;
    let mut out = format!(
        "<h2>{}</h2>\n<p>{}</p>\n<svg viewBox=\"0 0 860 {height}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(title),
        escaped(note),
        escaped(title)
    );
    let mut y = 4.0;
    for bar in bars {
        let (end, text) = (x(bar.value), y + 18.0);
        let (low, high, middle) = (x(bar.between.0), x(bar.between.1), y + 13.0);
        let label = escaped(&bar.label);
        write!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"b\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"26\" rx=\"2\"/>\
             <line class=\"w\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>",
            LEFT - 10.0,
            (end - LEFT).max(1.0),
        )
        .expect("strings take text");
        let mut behind = end.max(high) + 8.0;
        if let Some(mark) = bar.mark.map(x).filter(|&mark| mark <= LEFT + WIDTH) {
            let (top, bottom) = (y - 3.0, y + 29.0);
            write!(
                out,
                "<line class=\"l\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            )
            .expect("strings take text");
            behind = behind.max(mark + 8.0);
        }
        let value = two(&bar.value);
        writeln!(
            out,
            "<text class=\"n\" x=\"{behind:.1}\" y=\"{text:.1}\">{value}</text>"
        )
        .expect("strings take text");
        y += STEP;
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::super::rate::Tried;
    use super::*;

    fn sought(latency: &Latency) -> Sought {
        let step = |rate, why_not: Option<&str>| Tried {
            rate,
            why_not: why_not.map(str::to_owned),
            latency: Some(latency.clone()),
        };
        let tried = vec![
            step(50_000, None),
            step(200_000, Some("p99 1320 ms")),
            step(100_000, Some("lag grows by 240 ms")),
            step(90_000, None),
        ];
        Sought {
            bound_ms: 1000,
            held: Some(90_000),
            tried,
        }
    }

    fn measurements() -> Vec<Measurements> {
        let run = |seconds: f64| Measured {
            records: 2_000_000,
            seconds,
            user_seconds: 1.0,
            system_seconds: 0.2,
            peak_bytes: 50_000_000,
            rows: 600,
            commits: 10,
            commit_ms: vec![1.0, 2.0, 3.0, 4.0],
            ..Measured::default()
        };
        let limit = Limit {
            name: "bare read",
            records_per_second: 4e6,
            measured: run(0.5),
        };
        let latency = Latency {
            rate: 50_000,
            behind_ms: 2.0,
            measured: Measured {
                latency_ms: vec![10.0, 20.0, 30.0, 40.0],
                latency_by_quarter_ms: vec![10.0, 11.0, 11.0, 12.5],
                ..run(20.0)
            },
        };
        vec![Measurements {
            scenario: "a<b".to_owned(),
            about: "Rows & more.".to_owned(),
            origin: Origin {
                version: "1.2.3",
                commit: "0a1b2c3".to_owned(),
                date: "2026-11-22 01:02".to_owned(),
                processor: "A Processor".to_owned(),
                cores: 2,
                memory_bytes: (24 << 30) - 300_000_000,
                debug: false,
            },
            rows: 2_000_000,
            threads: 2,
            warm_up: 1,
            seconds: 20,
            bytes: 400_000_000,
            runs: vec![run(4.0), run(1.0), run(2.0)],
            limits: vec![limit],
            latency: Some(latency.clone()),
            search: Some(sought(&latency)),
        }]
    }

    #[test]
    fn the_tables_show_the_median_its_limit_and_latency() {
        let text = table(&measurements());
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("a<b"))
            .map(|line| line.split_whitespace().collect())
            .collect();

        assert_eq!(
            rows[0],
            [
                "a<b",
                "2,000,000",
                "0.50",
                "1.00",
                "2.00",
                "200",
                "0.60",
                "0.50",
                "0.10",
                "50",
                "10",
                "60",
                "1.0",
                "3.0"
            ]
        );
        assert_eq!(rows[1], ["a<b", "bare", "read", "4.00", "25.0", "0.60"]);
        assert_eq!(
            rows[2],
            [
                "a<b", "50,000", "10.0", "20.0", "30.0", "40.0", "2.5", "2.0", "20"
            ]
        );
        assert_eq!(
            rows[3].join(" "),
            "a<b 90,000 30.0 1000 100,000 lag grows by 240 ms"
        );
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "tidemark 1.2.3, commit 0a1b2c3; 2026-11-22 01:02 UTC; A Processor, 2 cores, 24 GiB"
        );
    }

    #[test]
    fn a_search_without_latency_and_one_that_finds_nothing_are_shown() {
        let mut all = measurements();
        all[0].latency = None;
        let search = all[0].search.as_mut().unwrap();
        search.held = None;
        search.tried.retain(|step| step.why_not.is_some());

        let text = table(&all);

        assert!(text.contains("highest rate held"), "{text}");
        let row = text.lines().last().unwrap().split_whitespace();
        assert_eq!(
            row.collect::<Vec<_>>().join(" "),
            "a<b none 1000 100,000 lag grows by 240 ms"
        );
    }

    #[test]
    fn the_median_of_two_runs_lies_between_them() {
        assert_eq!(spread(vec![3.0, 1.0]), [1.0, 2.0, 3.0]);
        assert_eq!(spread(vec![5.0, 1.0, 2.0]), [1.0, 2.0, 5.0]);
    }

    #[test]
    fn the_page_holds_the_plots_and_needs_nothing_else() {
        let page = page(&measurements());

        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("a&lt;b") && !page.contains("a<b"));
        assert!(!page.contains("http"), "it asks nobody");
    }
}
