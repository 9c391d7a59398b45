//! `docs/reliability.md`: a row for each test, with what was measured.

use std::{collections::BTreeMap, env, fs, path::Path};

use crate::gateway::Value;

const BEGIN: &str = "<!-- made by `make faults`: begin -->\n";
const END: &str = "<!-- made by `make faults`: end -->\n";
const HEAD: &str = "| Test | Fault | What a call of it gets | Told after | Other calls | Slowest | Serves again | Memory |\n\
                    |---|---|---|---|---|---|---|---|\n";

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md")).unwrap()
}

/// Before the table, its rows by test, after it.
fn parts(page: &str) -> (String, BTreeMap<String, String>, String) {
    let (before, rest) = page.split_once(BEGIN).expect("the first marker");
    let (table, after) = rest.split_once(END).expect("the second marker");
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let rows = table.lines().filter_map(|line| Some((name(line)?, line.to_owned()))).collect();
    (before.to_owned(), rows, after.to_owned())
}

/// The tests that are rows, in the order of the files.
fn tests() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let files = ["starts", "calls", "streams", "floods", "remote", "machine", "memory"];
    let text: String = files.map(|file| fs::read_to_string(dir.join(format!("{file}.rs"))).unwrap()).concat();
    let tests = text.split("#[test]\nfn ").skip(1).map(|rest| rest.split_once('(').unwrap().0.to_owned());
    tests.collect()
}

#[test]
fn the_page_has_a_row_for_each_test_and_no_other() {
    let (_, rows, _) = parts(&page());
    let (mut tests, rows): (Vec<String>, Vec<String>) = (tests(), rows.into_keys().collect());
    tests.sort();
    assert!(tests.len() > 30);
    assert_eq!(tests, rows, "docs/reliability.md; `make faults` writes its table");
}

/// Not a test: `make faults` runs it when the rows have run.
#[test]
#[ignore = "writes docs/reliability.md"]
fn write_the_page() {
    let file = env::var("HANGAR_FAULTS").expect("HANGAR_FAULTS names the file with what was measured");
    let text = fs::read_to_string(file).unwrap();
    let measured = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut measured: BTreeMap<_, _> = measured.map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect();
    let (before, kept, after) = parts(&page());
    // What could not be measured on this machine stays as it was.
    let row = |name: &String| measured.remove(name).map(|row| line(&row)).or_else(|| kept.get(name).cloned());
    let rows: Vec<String> = tests().iter().filter_map(row).map(|row| row + "\n").collect();
    let page = [&before, BEGIN, HEAD, &rows.concat(), END, &after].concat();
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md"), page).unwrap();
}

fn line(row: &Value) -> String {
    let ms = |key: &str| row[key].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
    let told = &row["told"];
    let kind = match (told["error"].as_str(), told["fault"].as_str()) {
        (Some(error), Some(fault)) => format!("`{error}`, {fault}: "),
        _ => String::new(),
    };
    // The message as it came, but for ports and for what would end the cell.
    let message = told["message"].as_str().unwrap_or_default().replace('|', "\\|");
    let message = if kind.is_empty() { message } else { format!("``{}``", without_port(&message)) };
    let notes: Vec<&str> = row["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    let mib = |key: &str| row[key].as_f64().unwrap_or_default() / 1024.0;
    format!(
        "| `{}` | {}{notes} | {kind}{message} | {} | {}, {} failed | {} | {} | {:.0} to {:.0} MiB |",
        row["name"].as_str().unwrap_or_default(),
        row["fault"].as_str().unwrap_or_default(),
        ms("detected_ms"),
        row["calls"],
        row["failed"],
        ms("worst_ms"),
        ms("again_ms"),
        mib("before_kib"),
        mib("most_kib"),
    )
}

fn without_port(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |done, part| done + "127.0.0.1:PORT" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
