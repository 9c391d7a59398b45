//! Groups on the command line.

use serde_json::json;

use super::rig::Place;

const GROUP: &str = "\
providers:
  math: {command: [hangar, demo-server, math]}
  more: {command: [hangar, demo-server, math]}
groups:
  sums: {members: [{id: math}, {id: more}]}
config_reload: {enabled: false}
";

#[test]
fn groups_are_listed_called_and_compared() {
    let place = Place::new(GROUP);
    let _gateway = place.serve();
    place.run(&["list"]).exits(0).says(&["GROUP", "sums   healthy  round_robin  2/2", "math more"]);
    let listed = place.run(&["list", "--json"]).exits(0).json();
    assert_eq!((&listed["count"], &listed["groups"][0]["group"]), (&json!(2), &json!("sums")), "{listed}");
    place.run(&["tools", "sums"]).exits(0).says(&["sums      add "]);
    assert_eq!(place.run(&["call", "sums", "add", r#"{"a": 2, "b": 40}"#]).exits(0).out.trim(), "42");
    place.run(&["call", "sums", "ad", "{}"]).exits(1).complains(&["unknown tool `ad`"]);

    place.write(
        &GROUP.replace("{members:", "{min_healthy: 2, members:").replace("  more: {", "  more: {enabled: false, "),
    );
    place.run(&["diff"]).exits(1).says(&["updated   more (enabled)", "updated   group sums (min_healthy)"]);
    place.run(&["reload"]).exits(0).says(&["updated   group sums (min_healthy)"]);
    place.run(&["diff"]).exits(0);
    place.run(&["list"]).exits(0).says(&["sums   unavailable  round_robin  1/2", "math more (disabled)"]);
    let refused = place.run(&["call", "sums", "add", r#"{"a": 2, "b": 40}"#]).exits(1);
    refused.complains(&["group \"sums\" has 1 of 2 members healthy and needs 2 (min_healthy)", "more is disabled"]);
}
