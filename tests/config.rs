//! Runs every file of `tests/config_corpus/` through the library: the good ones load, the bad ones give exactly the
//! problems of the snapshot, and the schema agrees with the parser about each.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hangar::config::{self, CODES, Config, InSchema, LoadError, Loaded};

/// Stands in files of the corpus where a secret would; must never be seen.
const SECRET: &str = "s3cr3t";

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_corpus")
}

/// The environment that the corpus was written for.
fn variables() -> [(&'static str, OsString); 6] {
    [
        ("PATH", corpus().join("bin").into_os_string()),
        ("HANGAR_TEST_SECRET", SECRET.into()),
        ("HANGAR_TEST_PORT", "8123".into()),
        ("HANGAR_TEST_MODE", "remote".into()),
        ("HANGAR_TEST_TRAP", "${HANGAR_TEST_SECRET}".into()),
        ("HANGAR_TEST_EMPTY", "".into()),
    ]
}

fn load(path: &Path) -> Result<Loaded, Box<LoadError>> {
    let variables = variables();
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    config::load_with(path, &mut config::read_source, &lookup)
}

fn load_text(text: &str) -> Result<Loaded, Box<LoadError>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    load(&path)
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = fs::read_dir(corpus().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    out.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    out.sort();
    out
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Without the place where this machine keeps the corpus.
fn redacted(text: &str) -> String {
    text.replace(&format!("{}/", corpus().display()), "")
}

#[test]
fn bad_files_give_exactly_these_problems() {
    let mut out = String::new();
    for path in files("bad") {
        let error = load(&path).err().unwrap_or_else(|| panic!("{} was accepted", path.display()));
        assert!(!error.problems.is_empty(), "{}", path.display());
        out.push_str(&format!("# {} ({})\n", name(&path), error.stage));
        for problem in &error.problems {
            out.push_str(&redacted(&problem.to_string()));
            out.push('\n');
        }
        out.push('\n');
    }
    insta::assert_snapshot!("bad", out);
}

#[test]
fn good_files_load() {
    let mut out = String::new();
    for path in files("good") {
        match load(&path) {
            Ok(loaded) => {
                let providers: Vec<String> = loaded.config.providers.keys().map(ToString::to_string).collect();
                out.push_str(&format!("# {}: {}\n", name(&path), providers.join(" ")));
                for warning in &loaded.warnings {
                    out.push_str(&format!("{}\n", redacted(&warning.to_string())));
                }
            }
            Err(error) => panic!("{}: {:#?}", path.display(), error.problems),
        }
    }
    insta::assert_snapshot!("good", out);
}

#[test]
fn every_code_of_a_problem_has_a_file_that_shows_it() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for path in files("bad") {
        seen.extend(load(&path).unwrap_err().problems.iter().map(|problem| problem.code));
    }
    for path in files("good") {
        seen.extend(load(&path).unwrap().warnings.iter().map(|warning| warning.code));
    }
    // A missing, unreadable or huge file cannot be kept in a corpus; they have their own tests.
    seen.extend(["HGR0001", "HGR0002", "HGR0004"]);
    let all: BTreeSet<&str> = CODES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(seen, all);
}

#[test]
fn every_code_is_documented() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    for (code, ..) in CODES {
        assert!(page.contains(&format!("| {code} |")), "{code} is not in docs/configuration.md");
    }
}

#[test]
fn every_key_is_documented_with_its_default() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let schema = config::schema();
    let sections = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for properties in sections.filter_map(|section| section["properties"].as_object()) {
        for (key, property) in properties {
            let row = page.lines().find(|line| {
                line.starts_with(&format!("| `{key}` |"))
                    && property.get("default").is_none_or(|default| match default {
                        serde_json::Value::String(text) => line.contains(&format!("`{text}`")),
                        serde_json::Value::Null => true,
                        other => line.contains(&format!("`{other}`")),
                    })
            });
            assert!(
                row.is_some(),
                "no row for `{key}` with default {:?} in docs/configuration.md",
                property.get("default")
            );
        }
    }
}

#[test]
fn the_schema_agrees_with_the_parser() {
    let schema = config::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in files("bad").into_iter().chain(files("good")) {
        let Some(document) = config::document(&fs::read(&path).unwrap()) else { continue };
        let codes: Vec<&str> = load(&path).err().iter().flat_map(|e| &e.problems).map(|p| p.code).collect();
        let sees = |code: &&str| CODES.iter().find(|(known, ..)| known == code).unwrap().1;
        let refused = codes.iter().any(|code| sees(code) == InSchema::Yes);
        let unsure = codes.iter().any(|code| sees(code) == InSchema::Partly);
        // What comes out of a reference, a schema cannot see.
        let hidden = name(&path).starts_with("reference");
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        if refused && !hidden {
            assert!(!errors.is_empty(), "the schema accepts {} ({codes:?})", path.display());
        } else if !unsure {
            assert!(errors.is_empty(), "the schema refuses {}: {errors:#?}", path.display());
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for path in files("bad").into_iter().chain(files("good")) {
        let shown = match load(&path) {
            Ok(loaded) => format!("{:?} {:?}", loaded.config, loaded.warnings),
            Err(error) => {
                let texts: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
                format!("{texts:?} {:?} {}", error.problems, serde_json::to_string(&error.problems).unwrap())
            }
        };
        assert!(!shown.contains(SECRET), "{} shows a secret: {shown}", path.display());
    }
}

#[test]
fn the_binary_says_the_same_and_exits_3() {
    for path in files("bad") {
        let out = Command::new(env!("CARGO_BIN_EXE_hangar"))
            .args(["validate", "--json", "--config"])
            .arg(&path)
            .env_clear()
            .envs(variables())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(3), "{}", path.display());
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let want = serde_json::to_value(load(&path).unwrap_err().problems).unwrap();
        assert_eq!(said["problems"], want, "{}", path.display());
    }
}

fn config_of(text: &str) -> Config {
    load_text(text).unwrap_or_else(|error| panic!("{:#?}", error.problems)).config
}

#[test]
fn a_default_spelled_out_is_a_default_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let load_in_place = |text: &str| {
        fs::write(&path, text).unwrap();
        load(&path).unwrap_or_else(|error| panic!("{:#?}", error.problems)).config
    };
    let pairs =
        [("short_subprocess", "long_subprocess"), ("short_docker", "long_docker"), ("short_remote", "long_remote")];
    for (short, long) in pairs {
        let text = |name: &str| fs::read_to_string(corpus().join("good").join(format!("{name}.yaml"))).unwrap();
        let (short, long) = (load_in_place(&text(short)), load_in_place(&text(long)));
        assert_eq!(short, long);
        let diff = config::diff(&short, &long);
        assert_eq!(diff.unchanged.len(), short.providers.len());
        assert_eq!(config::ConfigDiff { unchanged: vec![], ..diff }, config::ConfigDiff::default());
    }
}

#[test]
fn sources_are_listed_and_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, "providers: {}\n").unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.sources.files.len(), 1);
    assert_eq!(loaded.sha256, "71f126fdb588ade22462e2adde427ff4e7533d2fe672b7ca97aba8ab7863eabd");
    fs::write(&path, "providers: {a: {command: [serve], env_file: [a.env], env: {T: \"${file:t}\"}}}\n").unwrap();
    let error = load(&path).unwrap_err();
    let looked: Vec<(String, bool)> = error
        .sources
        .files
        .iter()
        .map(|(path, bytes)| (path.file_name().unwrap().to_string_lossy().into_owned(), bytes.is_some()))
        .collect();
    assert_eq!(looked, [("config.yaml".into(), true), ("t".into(), false), ("a.env".into(), false)]);
}

#[test]
fn files_that_cannot_be_taken() {
    let dir = tempfile::tempdir().unwrap();
    let code = |path: &Path| load(path).unwrap_err().problems[0].code;
    assert_eq!(code(&dir.path().join("nothing.yaml")), "HGR0001");
    assert_eq!(code(dir.path()), "HGR0002");
    let large = dir.path().join("large.yaml");
    fs::write(&large, format!("providers: {{}} #{}", "x".repeat(4 << 20))).unwrap();
    assert_eq!(code(&large), "HGR0004");
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = load_text(&text).unwrap_err();
    assert_eq!(error.problems.last().unwrap().code, "HGR0112");
}

#[test]
fn changed_fields_are_top_level_keys() {
    let base = "providers: {a: {command: [serve, x], args: [y]}}";
    for (text, want) in [
        ("providers: {a: {command: [serve], args: [x, y]}}", vec![]),
        ("providers: {a: {command: [serve, x], args: [z]}}", vec!["args"]),
        ("providers: {a: {command: [serve, z], args: [y]}}", vec!["command"]),
        ("providers: {a: {command: [serve, x, y], env: {A: 1}}}", vec!["env"]),
        ("providers: {a: {command: [serve, x, y], idle_ttl_s: 1, enabled: false}}", vec!["enabled", "idle_ttl_s"]),
        ("providers: {a: {mode: remote, endpoint: 'http://localhost'}}", vec!["mode"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, base).unwrap();
        let old = load(&path).unwrap().config;
        fs::write(&path, text).unwrap();
        let new = load(&path).unwrap().config;
        let diff = config::diff(&old, &new);
        let fields: Vec<&str> = diff.updated.iter().flat_map(|(_, fields)| fields.iter().copied()).collect();
        assert_eq!(fields, want, "{text}");
    }
}

#[test]
fn a_changed_env_file_is_a_changed_provider() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, "providers: {a: {command: [serve], env_file: [a.env]}}").unwrap();
    fs::write(dir.path().join("a.env"), "A=1\n").unwrap();
    let old = load(&path).unwrap();
    fs::write(dir.path().join("a.env"), "A=2\n").unwrap();
    let new = load(&path).unwrap();
    let diff = config::diff(&old.config, &new.config);
    assert_eq!(diff.updated, [(config::ProviderName::new("a").unwrap(), vec!["env_file"])]);
    assert_ne!(old.sha256, new.sha256);
}

#[test]
fn settings_and_what_needs_a_restart() {
    let old = config_of("providers: {}");
    let new = config_of(
        "{providers: {}, server: {port: 1, control_tools: []}, logging: {level: debug, format: json}, daemon: {idle_exit_s: 0}}",
    );
    let diff = config::diff(&old, &new);
    assert_eq!(diff.restart_required, ["server.port", "logging.format"]);
    assert_eq!(diff.settings, ["server.control_tools", "logging.level", "daemon.idle_exit_s"]);
}

#[test]
fn references_are_replaced_once_and_keep_their_types() {
    let text = "providers: {a: {command: [serve], env: {A: '${HANGAR_TEST_TRAP}', B: 1.0, C: 0x1F, D: yes, E: '$${X}'}}}\n\
                server: {port: '${HANGAR_TEST_PORT}'}\n";
    let config = config_of(text);
    let config::Launch::Subprocess(spec) = &config.providers["a"].launch else { panic!("not a subprocess") };
    let env: Vec<(&str, &str)> = spec.environment.env.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
    let want = [("A", "${HANGAR_TEST_SECRET}"), ("B", "1.0"), ("C", "0x1F"), ("D", "yes"), ("E", "${X}")];
    assert_eq!(env, want);
    assert_eq!(config.server.port, 8123);
}

/// PITFALLS P4: a cut file may be valid YAML. Whatever a prefix loads as, it names no provider that the whole does not,
/// and it never has an empty file stand for an empty gateway.
#[test]
fn a_prefix_of_a_file_never_invents_anything() {
    let text = fs::read_to_string(corpus().join("good/everything.yaml")).unwrap();
    let dir = corpus().join("good");
    let path = dir.join("everything.yaml");
    let whole = load(&path).unwrap().config;
    let mut accepted = 0;
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let mut read = |file: &Path| {
            if file == path { Ok(text.as_bytes()[..end].to_vec()) } else { config::read_source(file) }
        };
        let variables = variables();
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        if let Ok(loaded) = config::load_with(&path, &mut read, &lookup) {
            accepted += 1;
            assert!(!loaded.config.providers.is_empty(), "the first {end} bytes are an empty gateway");
            for name in loaded.config.providers.keys() {
                assert!(
                    whole.providers.contains_key(name)
                        || whole.providers.keys().any(|w| w.as_str().starts_with(name.as_str()))
                );
            }
        }
    }
    assert!(accepted > 0);
}

#[test]
fn the_example_loads_as_it_stands() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml");
    let loaded = config::load(&path).unwrap_or_else(|error| panic!("{:#?}", error.problems));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(!loaded.config.providers.is_empty());
}
