//! Entries of lists keep every byte but the name.

use std::fs;

use crate::{
    corpus::TOOLS,
    rig::{Front, Rig, upstreams},
};

const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("prompts/list", "prompts"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
];

fn name(method: &str, provider: &str, at: usize) -> [String; 2] {
    let (own, listed) = match method {
        "tools/list" | "prompts/list" => (format!("t{at}"), format!("{provider}__t{at}")),
        "resources/list" => (format!("test://x/{at}"), format!("hangar://{provider}/test://x/{at}")),
        _ => (format!("test://x/{{id}}/{at}"), format!("hangar://{provider}/test://x/{{id}}/{at}")),
    };
    [own, listed].map(|name| format!("\"{name}\""))
}

/// Entries of this list: what names a resource is its URI.
fn entry(method: &str, text: &str, name: &str) -> String {
    let key = match method {
        "resources/list" => "\"uri\"",
        "resources/templates/list" => "\"uriTemplate\"",
        _ => "\"name\"",
    };
    let text = text.replace("\"name\" :", &format!("{key} :")).replace("\"name\":@", &format!("{key}:@"));
    text.replace("@NAME@", name)
}

fn check(http: bool, fronts: &[Front]) {
    let rig = Rig::new(http);
    for upstream in upstreams() {
        for (method, field) in LISTS {
            let entries: Vec<_> = TOOLS
                .iter()
                .enumerate()
                .map(|(at, text)| entry(method, text, &name(method, upstream.name, at)[0]))
                .collect();
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"resultType":"complete","ttlMs":0,"cacheScope":"private","{field}":[{}]}}}}"#,
                entries.join(" , ")
            );
            fs::write(rig.script(upstream, &method.replace('/', "_")), text).unwrap();
        }
    }
    for (front, (method, _)) in fronts.iter().flat_map(|front| LISTS.map(|list| (*front, list))) {
        let request = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"{method}"}}"#);
        let (came, _) = rig.exchange(front, &request, "5", "", &mut |asked| panic!("{asked}"));
        let list = came.last().unwrap();
        let all = upstreams();
        for (upstream, (at, text)) in all.iter().flat_map(|u| TOOLS.iter().enumerate().map(move |t| (u, t))) {
            let wanted = entry(method, text, &name(method, upstream.name, at)[1]);
            assert!(list.contains(&wanted), "{front:?} {method} of {upstream:?} lacks {wanted}\n{list}");
        }
    }
}

#[test]
fn entries_of_lists_keep_every_byte_but_the_name() {
    check(false, &[Front::Stdio]);
    check(true, &[Front::Json, Front::Sse]);
}
