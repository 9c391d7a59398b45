//! Laws that hold for every file, tried on random ones.

use std::{io, path::Path};

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    CODES, Config, InSchema, LoadError, Loaded, diff, document,
    keys::{SECTIONS, Section},
    load_with, schema,
};

fn load(text: &str) -> Result<Loaded, Box<LoadError>> {
    let mut read = |path: &Path| {
        if path == Path::new("/config.yaml") { Ok(text.into()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    load_with(Path::new("/config.yaml"), &mut read, &|name| (name == "SET").then(|| "7".into()))
}

/// Values of every type, good for some key or other.
fn leaf() -> impl Strategy<Value = Value> {
    let words = vec![
        "",
        "x",
        "docker",
        "remote",
        "subprocess",
        "container",
        "auto",
        "legacy",
        "shared",
        "session",
        "always",
        "never",
        "missing",
        "https://e.example/",
        "http://",
        "./a:/b",
        "/a:/b:rw",
        "a:/b",
        "512m",
        "5x",
        "random",
        "priority",
        "bearer",
        "basic",
        "*",
        "yes",
        "2026-07-28",
        "json",
        "info",
        "https://x",
        "localhost",
        "a b",
        "line\nbreak",
        "A=B",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..70_000).prop_map(Value::from),
        select(vec![0.0, 0.5, 1.0, 5.0, -1.5, 1e9]).prop_map(Value::from),
        select(words).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let names =
        select(vec!["A", "b_c", "type", "token", "grace_s", "memory", "cpu", "allow", "deny", "verify", "ca_file"]);
    prop_oneof![
        4 => leaf(),
        2 => vec(leaf(), 0..3).prop_map(Value::from),
        2 => vec((names, leaf()), 0..3).prop_map(|pairs| pairs.into_iter().collect()),
    ]
}

/// A mapping whose keys mostly come from the table.
fn fields(section: &'static Section) -> impl Strategy<Value = Value> {
    let mut names: Vec<&str> =
        section.keys.iter().flat_map(|key| std::iter::once(&key.name).chain(key.aliases)).copied().collect();
    names.push("unheard_of");
    vec((select(names), value()), 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

fn section(id: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.id == id).unwrap()
}

fn file() -> impl Strategy<Value = Value> {
    // Disabled, so that what is on this machine does not matter.
    let provider = (fields(section("provider")), any::<bool>()).prop_map(|(mut fields, plain)| {
        let map = fields.as_object_mut().unwrap();
        map.insert("enabled".into(), json!(false));
        if plain {
            map.entry("command").or_insert(json!(["x"]));
        }
        fields
    });
    let providers = vec((select(vec!["a", "b-1", "C", "1bad", "x__y"]), provider), 0..3);
    let groups = vec((select(vec!["g", "a", "x__y"]), group()), 0..3);
    (providers, groups, fields(section("server")), fields(section("logging")), 0..8).prop_map(
        |(providers, groups, server, logging, which)| {
            let mut out = Map::new();
            out.insert("providers".into(), providers.into_iter().collect());
            if which & 1 == 1 {
                out.insert("server".into(), server);
            }
            if which & 2 == 2 {
                out.insert("logging".into(), logging);
            }
            if which & 4 == 4 {
                out.insert("groups".into(), groups.into_iter().collect());
            }
            Value::Object(out)
        },
    )
}

fn group() -> impl Strategy<Value = Value> {
    let member = (fields(section("member")), select(vec!["a", "b-1", "C", "D", "1bad"]), any::<bool>());
    let member = member.prop_map(|(mut fields, id, named)| {
        if named {
            fields.as_object_mut().unwrap().insert("id".into(), json!(id));
        }
        fields
    });
    (fields(section("group")), vec(member, 0..3), any::<bool>()).prop_map(|(mut fields, members, plain)| {
        if plain {
            fields.as_object_mut().unwrap().insert("members".into(), members.into());
        }
        fields
    })
}

/// A file that is accepted.
fn config() -> impl Strategy<Value = Config> {
    let number = select(vec![json!(1), json!(2.5), json!("${SET}")]);
    let provider = (vec((select(vec!["idle_ttl_s", "call_timeout_s", "drain_timeout_s"]), number), 0..3), 0..6u8);
    let provider = provider.prop_map(|(pairs, launch)| {
        let mut out: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let more = match launch {
            0 => json!({"mode": "docker", "image": "x"}),
            1 => json!({"mode": "remote", "endpoint": "http://localhost/"}),
            2 => json!({"mode": "remote", "endpoint": "http://localhost/", "transport": "sse"}),
            3 => json!({"command": ["x"], "args": ["y"]}),
            4 => json!({"command": ["x", "y"]}),
            _ => json!({"command": ["x"], "env": {"A": launch}}),
        };
        out.extend(more.as_object().unwrap().clone());
        out.insert("enabled".into(), json!(false));
        Value::Object(out)
    });
    vec((select(vec!["a", "b", "c", "d"]), provider), 0..4).prop_map(|providers| {
        let providers: Value = providers.into_iter().collect();
        load(&json!({"providers": providers}).to_string())
            .unwrap_or_else(|error| panic!("{:#?}", error.problems))
            .config
    })
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(a in config()) {
        let mut same = diff(&a, &a.clone());
        prop_assert_eq!(std::mem::take(&mut same.unchanged).len(), a.providers.len());
        prop_assert_eq!(same, super::ConfigDiff::default());
    }

    #[test]
    fn a_diff_partitions_the_names_and_knows_every_field(a in config(), b in config()) {
        let diff = diff(&a, &b);
        let updated: Vec<_> = diff.updated.iter().map(|(name, _)| name.clone()).collect();
        let olds: std::collections::BTreeSet<_> = [&diff.removed, &updated, &diff.unchanged].into_iter().flatten().cloned().collect();
        let news: std::collections::BTreeSet<_> = [&diff.added, &updated, &diff.unchanged].into_iter().flatten().cloned().collect();
        prop_assert!(olds.iter().eq(a.providers.keys()) && news.iter().eq(b.providers.keys()));
        let named = diff.added.len() + diff.removed.len() + updated.len() + diff.unchanged.len();
        let all: std::collections::BTreeSet<_> = a.providers.keys().chain(b.providers.keys()).collect();
        prop_assert_eq!(named, all.len());
        for (name, fields) in &diff.updated {
            prop_assert!(!fields.is_empty() && fields.is_sorted(), "{name}: {fields:?}");
            prop_assert!(a.providers[name] != b.providers[name]);
        }
        for name in &diff.unchanged {
            prop_assert!(a.providers[name] == b.providers[name]);
        }
    }

    #[test]
    fn any_text_gives_a_config_or_problems(text in "[a-z:{}\\[\\]&*!<>~#'\"\n ,|-]{0,60}") {
        if let Err(error) = load(&text) {
            prop_assert!(!error.problems.is_empty());
        }
    }

    /// Whatever the parser says of the shape, the schema says too.
    #[test]
    fn schema_and_parser_agree(file in file()) {
        use std::sync::LazyLock;
        static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
        let text = file.to_string();
        let seen = document(text.as_bytes()).unwrap();
        let codes: Vec<&str> = load(&text).err().iter().flat_map(|error| &error.problems).map(|problem| problem.code).collect();
        let of = |which: InSchema| codes.iter().any(|code| CODES.iter().any(|(known, see, _)| known == code && *see == which));
        let errors: Vec<String> = SCHEMA.iter_errors(&seen).map(|error| error.to_string()).collect();
        if of(InSchema::Yes) {
            prop_assert!(!errors.is_empty(), "only the parser refuses {text}: {codes:?}");
        } else if !of(InSchema::Partly) {
            prop_assert!(errors.is_empty(), "only the schema refuses {text}: {errors:?}");
        }
    }
}
