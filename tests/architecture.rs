//! The floors of the house (DESIGN section 2, `src/lib.rs`): a module imports only from floors below it. Read from the
//! text of `src/`, so that a wrong `use` fails here and not in somebody's review. Unit tests may look anywhere.

use std::{collections::BTreeSet, fs, path::Path};

const FLOORS: [&[&str]; 8] = [
    // `runtime_dir`: where a running gateway is found; `app` binds its socket there, `cli` looks for it. `host`: what the machine
    // says about processes.
    // `passing`: descriptors through a socket, to a shim and to the next life.
    &["config", "wire", "runtime_dir", "host", "passing"],
    &["transport", "telemetry"],
    // `census`: the gateways of this user and what belongs to them.
    &["provider", "census"],
    &["registry"],
    &["reload", "bridge"],
    &["server", "control"],
    &["app"],
    // `fuzzing`: only with the feature of that name.
    &["cli", "main", "lib", "fuzzing"],
];
const MAX_LINES: usize = 500;
const NO_CONCEPT: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];
/// The command line writes results to stdout, and the stdio front of `server` the MCP wire, which `app` opens for it.
/// Nothing else may.
const MAY_OPEN_STDOUT: [&str; 3] = ["cli", "server", "app"];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// What is wrong with one file of the crate; `path` is relative to `src/`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let module = parts[0];
    if !text.starts_with("//! ") {
        faults.push("does not open with `//! ` saying what the concept is and who owns it".into());
    }
    if text.lines().count() >= MAX_LINES {
        faults.push(format!("has {} lines, the ceiling is {MAX_LINES}", text.lines().count()));
    }
    if let Some(name) = parts.iter().find(|part| NO_CONCEPT.contains(part)) {
        faults.push(format!("`{name}` names no concept"));
    }
    if parts[1..].contains(&"tests") {
        return faults;
    }
    let code = code_of(text);
    if (module != "cli" && (code.contains(" println!") || code.contains(" print!")))
        || (!MAY_OPEN_STDOUT.contains(&module) && code.contains("stdout()"))
    {
        faults.push("writes to stdout, which is the MCP wire".into());
    }
    let depth = parts.iter().filter(|part| **part != "mod").count();
    if !matches!(module, "main" | "lib") && code.contains(&"super::".repeat(depth)) {
        faults.push("reaches the top of the crate by `super`; write `crate::`, which this test reads".into());
    }
    let Some(own) = floor(module) else {
        faults.push(format!("`{module}` has no floor: give it one in src/lib.rs and in this test"));
        return faults;
    };
    for other in imports(&code).into_iter().filter(|other| other != module) {
        match floor(&other) {
            Some(level) if level < own => {}
            Some(level) => faults.push(format!("floor {own} imports `{other}` of floor {level}")),
            None => faults.push(format!("imports `crate::{other}`, which is no module on a floor")),
        }
    }
    faults
}

/// One line, without comments and without the unit tests, which stand last (clippy: `items_after_test_module`).
fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    let mut code: String = lines.flat_map(|line| [" ", line]).collect();
    let opens_a_module = |(at, attribute): &(usize, &str)| {
        let head = code[at + attribute.len()..].split_inclusive(['{', ';']).next().unwrap_or_default();
        head.contains("mod ") && head.ends_with('{')
    };
    let tests = code.match_indices("#[cfg(test)] ").find(opens_a_module).map(|(at, _)| at);
    code.truncate(tests.unwrap_or(code.len()));
    code
}

/// The first step of every `crate::` path: `crate::a::b`, and each branch of `crate::{a::b, c::{d, e}}`.
fn imports(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            found.insert(name(path));
            continue;
        };
        let mut depth = 1;
        let mut branch_starts = vec![0];
        for (at, c) in group.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            match c {
                _ if depth == 0 => break,
                ',' if depth == 1 => branch_starts.push(at + 1),
                _ => {}
            }
        }
        found.extend(branch_starts.into_iter().map(|at| name(&group[at..])));
    }
    found.remove("");
    found
}

fn all_faults(dir: &Path, root: &Path, seen: &mut usize) -> Vec<String> {
    let mut faults_found = Vec::new();
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("src is readable").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            faults_found.extend(all_faults(&entry, root, seen));
        } else if entry.extension().is_some_and(|ext| ext == "rs") {
            *seen += 1;
            let path = entry.strip_prefix(root).expect("below src").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&entry).expect("readable");
            faults_found.extend(faults(&path, &text).into_iter().map(|fault| format!("src/{path}: {fault}")));
        }
    }
    faults_found
}

#[test]
fn every_file_keeps_to_its_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    let found = all_faults(&root, &root, &mut seen);
    assert!(seen > 2, "read only {seen} files below {}", root.display());
    assert!(found.is_empty(), "{} of {seen} files:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_rules_can_fail() {
    let refused = |path: &str, text: &str, says: &str| {
        let found = faults(path, text);
        assert!(found.len() == 1 && found[0].contains(says), "{path}: {text:?} -> {found:?}");
    };
    refused(
        "provider/slot.rs",
        "//! A slot.\nuse crate::{config::X, registry::{A, B}};",
        "floor 2 imports `registry` of floor 3",
    );
    refused(
        "provider/slot.rs",
        "//! A slot.\nuse crate::{\n    config::{X, Y},\n    app,\n};",
        "imports `app` of floor 6",
    );
    refused("wire/frame.rs", "//! A frame.\nfn f() { crate::config::load() }", "floor 0 imports `config` of floor 0");
    refused("wire/frame.rs", "//! A frame.\n#[cfg(test)]\nuse crate::app;\nfn f() {}", "imports `app`");
    refused("wire/frame.rs", "//! A frame.\n#[cfg(test)]\nmod tests;\nuse crate::app;", "imports `app`");
    refused("wire/mod.rs", "//! Wire.\nuse super::app::App;", "by `super`");
    refused("wire/frame.rs", "//! A frame.\nuse super::super::app::App;", "by `super`");
    refused("sundry/mod.rs", "//! Things.", "`sundry` has no floor");
    refused("config/mod.rs", "//! Config.\nuse crate::sundry;", "`crate::sundry`, which is no module");
    refused("config/utils.rs", "//! Things.", "`utils` names no concept");
    refused("config/mod.rs", "// Config.", "does not open with");
    refused("config/mod.rs", &format!("//! Config.\n{}", "\n".repeat(MAX_LINES)), "501 lines");
    refused("server/http.rs", "//! HTTP.\nfn f() {\n    println!(\"hello\")\n}", "writes to stdout");
    refused("reload/mod.rs", "//! Reload.\nfn f() { std::io::stdout().flush() }", "writes to stdout");

    for (path, text) in [
        ("provider/slot.rs", "//! A slot.\nuse super::state::S;\nuse crate::{config::X, transport::{A, B}, wire};"),
        (
            "provider/slot.rs",
            "//! A slot, see [`crate::app`].\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::app;\n}",
        ),
        ("wire/frame.rs", "//! A frame.\n#[cfg(test)]\npub(super) mod tests {\n    use crate::app;\n}"),
        ("provider/tests.rs", "//! Tests.\nuse crate::app;"),
        ("cli/list.rs", "//! List.\nuse crate::app;\nfn f() { println!(\"a\"); eprintln!(\"b\") }"),
        ("server/stdio.rs", "//! stdio.\nfn f() { tokio::io::stdout(); eprintln!(\"b\") }"),
        ("main.rs", "//! Life.\nuse hangar::cli;"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text:?}");
    }
}
