//! What was measured: a Markdown table on stdout and the raw figures as JSON below `target/`.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

/// One measured quantity. Smaller is better, but of what counts per second.
struct Figure {
    group: &'static str,
    name: String,
    unit: &'static str,
    /// One value per round.
    rounds: Vec<f64>,
    target: Option<f64>,
}

pub struct Report {
    smoke: bool,
    load_before: String,
    figures: Vec<Figure>,
}

impl Report {
    pub fn new(smoke: bool) -> Self {
        Self { smoke, load_before: load_average(), figures: Vec::new() }
    }

    pub fn add(&mut self, group: &'static str, name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) {
        self.put(Figure { group, name: name.into(), unit, rounds, target: None });
    }

    pub fn aim(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        rounds: Vec<f64>,
        target: f64,
    ) {
        self.put(Figure { group, name: name.into(), unit, rounds, target: Some(target) });
    }

    fn put(&mut self, figure: Figure) {
        // Progress, for who waits.
        let _ = writeln!(io::stderr(), "{}: {}: {}", figure.group, figure.name, show(figure.median(), figure.unit));
        self.figures.push(figure);
    }

    pub fn finish(self, took: Duration) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n| | figure | median | best .. worst round | target | |\n|---|---|--:|--:|--:|---|")?;
        for figure in &self.figures {
            let (best, worst) = figure.extremes();
            let target = figure
                .target
                .map(|target| {
                    format!("{} {}", if figure.more_is_better() { ">=" } else { "<=" }, show(target, figure.unit))
                })
                .unwrap_or_default();
            let verdict = if self.smoke { "" } else { figure.verdict() };
            let (median, best) = (show(figure.median(), figure.unit), show(best, ""));
            let (group, name, worst) = (figure.group, &figure.name, show(worst, ""));
            writeln!(out, "| {group} | {name} | {median} | {best} .. {worst} | {target} | {verdict} |")?;
        }
        let load = format!("{} before, {} after", self.load_before, load_average());
        writeln!(out, "\n{}; load average {load}; {:.0} s{}", machine(), took.as_secs_f64(), self.smoke_note())?;
        let name = if self.smoke { "target/bench-e2e-smoke.json" } else { "target/bench-e2e.json" };
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let raw = json!({"smoke": self.smoke, "machine": machine(), "load_average": load, "figures": figures});
        fs::write(&path, format!("{raw:#}\n"))?;
        writeln!(out, "raw figures: {}", path.display())
    }

    fn smoke_note(&self) -> &'static str {
        if self.smoke { "; a smoke run: the figures mean nothing" } else { "" }
    }
}

impl Figure {
    fn median(&self) -> f64 {
        median(&self.rounds)
    }

    fn extremes(&self) -> (f64, f64) {
        let (low, high) =
            self.rounds.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        if self.more_is_better() { (high, low) } else { (low, high) }
    }

    fn verdict(&self) -> &'static str {
        let met = |target| if self.more_is_better() { self.median() >= target } else { self.median() <= target };
        self.target.map_or("", |target| if met(target) { "met" } else { "MISSED" })
    }

    fn more_is_better(&self) -> bool {
        self.unit == "/s"
    }

    fn json(&self) -> Value {
        json!({
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "median": self.median(),
            "rounds": self.rounds,
            "target": self.target,
            "verdict": self.verdict(),
        })
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn show(value: f64, unit: &str) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 1 };
    let space = if unit.is_empty() || unit == "/s" { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    format!("{cores} cores of {model}, Linux {}", kernel.split('-').next().unwrap_or_default().trim())
}
