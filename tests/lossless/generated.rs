//! The same with JSON that nobody has thought of.

use std::cell::Cell;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    expect::Exchange,
    rig::{Era, Front, Rig, upstreams},
};

/// Deepest nesting of what is put into a message, which has a few levels of its own.
const DEEPEST: usize = 60;

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t "), 1 => Just(" \r\n")]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9 ._/-]{0,12}",
        1 => prop::sample::select(vec![r#"\""#, r"\\", r"\/", r"\u0000", r"\ud800", r"\udfff\ud83d", r"\uD83D\uDE00", "\u{2028}", "\u{feff}", "日本", "🜁", "\u{7f}", "id", "jsonrpc", "progressToken", "_meta", "@", "io.modelcontextprotocol/x"]).prop_map(str::to_owned),
        1 => any::<char>().prop_filter_map("no control character", |c| (c >= ' ' && c != '"' && c != '\\').then(|| c.to_string())),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "-0",
            "-0.0",
            "1e400",
            "1E-400",
            "1.10",
            "0.1234567890123456789",
            "12345678901234567890123",
            "1234567890123456789",
            "9007199254740993",
            "0.1"
        ])
        .prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        string(),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let item = (space(), inner.clone(), space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        // Keys of few names, so that many stand twice.
        let key = prop_oneof![
            string(),
            prop::sample::select(vec!["\"a\"", r#""\u0061""#, "\"name\"", "\"\""]).prop_map(str::to_owned)
        ];
        let field = (space(), key, space(), inner).prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{b}{value}{a}"));
        prop_oneof![
            prop::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(","))),
        ]
    })
}

fn deep() -> impl Strategy<Value = String> {
    let wrapped = |(value, kinds): (String, Vec<bool>)| {
        kinds
            .into_iter()
            .fold(value, |inner, list| if list { format!("[{inner}]") } else { format!("{{\"d\":{inner}}}") })
    };
    let bottom = "-?[1-9][0-9]{0,30}";
    prop_oneof![3 => json().boxed(), 1 => (bottom, prop::collection::vec(any::<bool>(), DEEPEST - 10..DEEPEST)).prop_map(wrapped).boxed()]
}

fn check(rig: &Rig, fronts: &[Front], cases: u32) {
    let strategy = (
        deep(),
        deep(),
        deep(),
        prop::sample::select(upstreams()),
        prop::sample::select(fronts.to_vec()),
        any::<[bool; 3]>(),
        space(),
    );
    let count = Cell::new(0);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() });
    let run = runner.run(&strategy, |(one, two, three, upstream, front, [modern, askable, token], space)| {
        count.set(count.get() + 1);
        let progress = if token { r#""progressToken":@TOKEN@,"# } else { "" };
        let exchange = Exchange {
            case: format!("case-g{}x", count.get()),
            front,
            era: if modern { Era::Modern } else { Era::Legacy },
            upstream,
            method: "tools/call",
            request: format!(
                r#"{{"jsonrpc":"2.0",{space}"id":@ID@,"method":"tools/call","x":{two},"params":{{{space}"_meta":{{@KEYS@{progress}"v":{three}}}{space},"arguments":{{"a":{one}}},"c":"@CASE@",{space}"name":@NAME@,"z":{two}}}}}"#
            ),
            notes: vec![
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"x":{two},"progressToken":@TOKEN@,"y":{three}}}}}"#),
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":{three},"level":"error"}}}}"#),
            ],
            answer: format!(r#"{{"jsonrpc":"2.0","v":{three},"id":@ID@,"result":{{@RT@"content":{two},{space}"structuredContent":{one}}}}}"#),
            askable,
        };
        exchange.check(rig);
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

fn cases() -> u32 {
    std::env::var("HANGAR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

#[test]
fn generated_messages_keep_every_byte_over_stdio() {
    check(&Rig::new(false), &[Front::Stdio], cases());
}

#[test]
fn generated_messages_keep_every_byte_over_http() {
    check(&Rig::new(true), &[Front::Json, Front::Sse], 2 * cases());
}
