//! What `hangar_search_tools` finds among tools in the manner of public servers, and what `hangar_tools` says of them.

use std::sync::Arc;

use crate::{
    catalogue::{queries, servers},
    gateway::{Gateway, Home, Value, json},
};

/// Every server of the catalogue, each a provider.
fn all(home: &Arc<Home>) -> Gateway {
    let provider = |server: &crate::catalogue::Server| {
        home.provider(server.name, &["--catalogue", server.name], &format!("description: {}", json!(server.about)))
    };
    Gateway::start(home, &servers().iter().map(provider).collect::<String>())
}

fn search(gateway: &Gateway, arguments: Value) -> Value {
    gateway.client.structured("hangar_search_tools", arguments)
}

/// `provider.tool` of each result.
fn found(answer: &Value) -> Vec<String> {
    let tools = answer["tools"].as_array().unwrap().iter();
    tools.map(|t| format!("{}.{}", t["provider"].as_str().unwrap(), t["tool"].as_str().unwrap())).collect()
}

/// Of what clients ask for, in how many cases the tool is among the first five; docs/operations.md has the figures. What is missed
/// is asked for in words that no tool has.
#[test]
fn the_wanted_tool_is_among_the_first_five() {
    let home = Home::new();
    let gateway = all(&home);
    let queries = queries();
    let (mut first, mut five, mut misses) = (0, 0, Vec::new());
    for query in &queries {
        let found = found(&search(&gateway, json!({"query": query.text, "limit": 5})));
        let place = found.iter().position(|found| query.wanted.contains(&found.as_str()));
        first += usize::from(place == Some(0));
        five += usize::from(place.is_some());
        if place != Some(0) {
            misses.push(format!("{}{:?} -> {found:?}", if place.is_some() { "  " } else { "! " }, query.text));
        }
    }
    let of = queries.len();
    eprintln!(
        "{of} queries over {} tools: first {first}, among five {five}\n{}",
        servers().iter().map(|s| s.tools.len()).sum::<usize>(),
        misses.join("\n")
    );
    assert!(of >= 40 && five * 100 >= of * 93, "recall@5 {five} of {of}:\n{}", misses.join("\n"));
    assert!(first * 100 >= of * 75, "first {first} of {of}:\n{}", misses.join("\n"));
    gateway.stop();
}

#[test]
fn an_answer_says_what_is_needed_to_choose_and_no_more() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("slack", &["--catalogue", "slack"], ""));
    let answer = search(&gateway, json!({"query": "post message", "limit": 1}));
    let tool = &answer["tools"][0];
    assert_eq!(tool["name"], "slack__slack_post_message");
    assert_eq!((&tool["provider"], &tool["tool"]), (&json!("slack"), &json!("slack_post_message")));
    assert_eq!(tool["description"], "Post a new message to a Slack channel");
    assert_eq!(
        (&tool["parameters"], &tool["required"]),
        (&json!(["channel_id", "text"]), &json!(["channel_id", "text"]))
    );
    assert!(tool["score"].as_f64().unwrap() > 0.0 && tool["inputSchema"].is_null(), "{tool}");
    assert!(answer["total"].as_u64().unwrap() > 1, "{answer}");
    let whole = search(&gateway, json!({"query": "post message", "limit": 1, "schemas": true}));
    assert_eq!(whole["tools"][0]["inputSchema"]["properties"]["text"]["type"], "string");
    let none = search(&gateway, json!({"query": "zzzzqqq"}));
    assert_eq!((&none["tools"], &none["total"], &none["providers"]), (&json!([]), &json!(0), &json!(["slack"])));
    assert!(answer["providers"].is_null());
    let refused = gateway.client.tool("hangar_search_tools", json!({"query": " ?! "}));
    assert_eq!(refused["structuredContent"]["error"], "invalid_arguments");
    gateway.stop();
}

#[test]
fn tools_are_described_by_name_with_their_providers_instructions() {
    let home = Home::new();
    let gateway =
        Gateway::start(&home, &home.provider("slack", &["--catalogue", "slack"], "tools: {deny: [slack_get_users]}"));
    let names = ["slack_post_message", "slack__slack_add_reaction"];
    let told = gateway.client.structured("hangar_tools", json!({"provider": "slack", "tools": names}));
    let listed: Vec<_> = told["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["slack_post_message", "slack_add_reaction"]);
    assert_eq!(told["tools"][0]["inputSchema"]["required"], json!(["channel_id", "text"]));
    assert_eq!(told["instructions"], "a test provider");
    let all = gateway.client.structured("hangar_tools", json!({"provider": "slack"}));
    assert_eq!(all["tools"].as_array().unwrap().len(), 7);
    for (asked, says) in
        [("slack_post_mesage", "did you mean \"slack_post_message\"?"), ("slack_get_users", "offers no tool")]
    {
        let refused = gateway.client.tool("hangar_tools", json!({"provider": "slack", "tools": [asked]}));
        assert_eq!(refused["structuredContent"]["error"], "unknown_tool", "{refused}");
        assert!(refused["structuredContent"]["message"].as_str().unwrap().contains(says), "{refused}");
    }
    gateway.stop();
}

#[test]
fn a_provider_that_hangs_holds_a_search_up_for_a_bounded_time_and_is_named() {
    let home = Home::new();
    let providers =
        home.provider("a", &["--tools", "special"], "") + &home.provider("hangs", &["--handshake", "hang"], "");
    let settings = crate::expose::server("expose: search, list_timeout_s: 0.3");
    let gateway = Gateway::with_settings(&home, &providers, &settings);
    // Known before: on a busy machine it could be as late as the other one.
    gateway.client.text("a__special", json!({}));
    let answer = search(&gateway, json!({"query": "special"}));
    assert_eq!(found(&answer), ["a.special"]);
    assert_eq!(answer["not_searched"][0]["provider"], "hangs");
    assert!(answer["not_searched"][0]["why"].as_str().unwrap().contains("not ready within 0.3 s"), "{answer}");
    gateway.stop();
}

#[test]
fn what_a_provider_adds_or_a_reload_takes_away_is_found_or_not_found_at_once() {
    let home = Home::new();
    let both = home.provider("a", &[], "") + &home.provider("b", &["--tools", "unheard_of_thing"], "");
    let gateway = Gateway::start(&home, &both);
    let names = |query: &str| found(&search(&gateway, json!({"query": query, "limit": 50})));
    assert_eq!(names("unheard thing"), ["b.unheard_of_thing"]);
    gateway.client.text("a__add_tool", json!({"name": "brandNewGadget"}));
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    assert_eq!(names("gadget"), ["a.brandNewGadget"]);
    gateway.reload(&home.provider("a", &[], ""));
    assert_eq!(names("unheard thing"), Vec::<String>::new());
    let described = home.provider("a", &[], "description: Telescopes of the observatory");
    gateway.reload(&described);
    assert!(names("telescope").iter().any(|name| name == "a.echo"));
    gateway.stop();
}
