//! What a client pays for the list of tools in each mode: the table of docs/benchmarks.md, held to the truth.

use std::{fs, path::Path};

use crate::{
    catalogue::chosen,
    expose::server,
    gateway::{Gateway, Home, json},
};

const SIZES: [usize; 3] = [10, 100, 500];
const MODES: [&str; 3] = ["direct", "search", "both"];

/// Bytes of the result of `tools/list`, with so many tools of public servers among five providers. What the gateway's further
/// tools add to `direct` and `both` is left out by `control_tools`.
fn bytes(tools: usize, mode: &str) -> usize {
    let home = Home::new();
    let each = tools / 5;
    let provider =
        |n: usize| home.provider(&format!("server{n}"), &["--catalogue", &format!("{}+{each}", n * each)], "");
    let settings = server(&format!("expose: {mode}, control_tools: []"));
    let gateway = Gateway::with_settings(&home, &(0..5).map(provider).collect::<String>(), &settings);
    let request = gateway.client.send("tools/list", json!({}));
    let number = format!("\"id\":{},", request.id);
    let count = request.wait()["result"]["tools"].as_array().unwrap().len();
    let expected = match mode {
        "direct" => tools,
        "search" => 3,
        _ => tools + 3,
    };
    assert_eq!(count, expected, "{mode}");
    let line = gateway.client.wait_line("the list", |line| line.contains(&number));
    let result = line.split_once("\"result\":").unwrap().1.strip_suffix('}').unwrap().len();
    gateway.stop();
    result
}

#[test]
fn the_published_sizes_of_the_list_are_those_of_the_binary() {
    let row = |tools: usize| {
        let cells: Vec<String> = MODES.iter().map(|mode| grouped(bytes(tools, mode))).collect();
        format!("| {tools} tools | {} |", cells.join(" | "))
    };
    let average: usize = chosen("0+198").iter().map(|tool| tool.to_string().len()).sum::<usize>() / 198;
    let mut wanted = vec![format!("of {average} bytes on average")];
    wanted.extend(SIZES.iter().map(|tools| row(*tools)));
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md")).unwrap();
    let missing: Vec<_> = wanted.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/benchmarks.md has not:\n{missing:#?}\nall: {wanted:#?}");
}

/// `12 345`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
