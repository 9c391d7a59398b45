//! `docs/pitfalls.md` names a test for each rule; here it is held to that.

use std::{fs, path::Path};

fn sources(dir: &Path, out: &mut String) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            *out += &fs::read_to_string(path).unwrap();
        }
    }
}

#[test]
fn every_rule_has_a_test_that_exists_or_says_when_it_comes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut rules) = (String::new(), Vec::new());
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let text = fs::read_to_string(root.join("docs/pitfalls.md")).unwrap();
    for row in text.lines().filter(|line| ["| P", "| H", "| S"].iter().any(|start| line.starts_with(start))) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [number, _, tests] = cells[..] else { panic!("{row}") };
        rules.push(number.trim_start_matches("| ").to_owned());
        let named = tests.split('`').skip(1).step_by(2);
        let named: Vec<_> =
            named.filter(|name| name.contains('_') && name.len() > 25 || name.starts_with("storm")).collect();
        assert!(!named.is_empty() || tests.contains("come"), "{row}");
        for name in named {
            assert!(code.contains(&format!("fn {name}(")), "{number}: there is no test {name}");
        }
    }
    let wanted = (1..=36)
        .map(|n| format!("P{n}"))
        .chain((1..=20).map(|n| format!("H{n}")))
        .chain((1..=12).map(|n| format!("S{n}")));
    assert_eq!(rules, wanted.collect::<Vec<_>>());
}
