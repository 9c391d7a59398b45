//! Problems of a configuration as text: those that this program found, and those that a gateway reports.

use serde_json::Value;

use super::output::{Colour, Out};

/// `config.yaml:3:5: providers.math.comand: unknown key [HGR0102]`, and what to do about it below.
pub(super) fn print(out: &mut Out, problems: &[Value], colour: Colour) -> anyhow::Result<()> {
    for problem in problems {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let number = |key: &str| problem.get(key).and_then(Value::as_u64);
        let mut line = String::new();
        if let Some(file) = text("file") {
            let place = match (number("line"), number("column")) {
                (Some(at), Some(column)) => format!("{file}:{at}:{column}:"),
                _ => format!("{file}:"),
            };
            line = out.paint(&place, Colour::Bold) + " ";
        }
        if let Some(path) = text("path") {
            line += &format!("{path}: ");
        }
        line += text("message").unwrap_or("a problem without words");
        if let Some(code) = text("code") {
            line += &format!(" {}", out.paint(&format!("[{code}]"), colour));
        }
        out.line(line)?;
        if let Some(help) = text("help") {
            out.line(format!("  help: {help}"))?;
        }
    }
    Ok(())
}

/// `1 problem`, `2 problems`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
