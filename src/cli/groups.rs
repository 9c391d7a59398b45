//! The groups of a gateway, for `hangar list`.

use serde_json::{Value, json};

use super::{
    admin::Admin,
    output::{Colour, Table},
    status::QUICK,
};

/// Puts them into the listing of providers. A gateway of an older version has none.
pub(super) async fn add(admin: &Admin, mut listing: Value) -> anyhow::Result<Value> {
    let answer = admin.get("/api/groups", QUICK).await?;
    let groups = if answer.status == 200 { answer.json(admin)?["groups"].take() } else { json!([]) };
    listing["groups"] = groups;
    Ok(listing)
}

/// `None`: there are none.
pub(super) fn table(listing: &Value) -> Option<Table> {
    let groups = listing.get("groups").and_then(Value::as_array).filter(|groups| !groups.is_empty())?;
    let mut table = Table::with_header(&["GROUP", "STATE", "STRATEGY", "HEALTHY", "MEMBERS"]);
    for group in groups {
        let text = |key: &str| group.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let state = text("state");
        let colour = match state.as_str() {
            "healthy" => Colour::Green,
            "degraded" => Colour::Yellow,
            _ => Colour::Red,
        };
        let members = group.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let healthy = group.get("healthy").map(ToString::to_string).unwrap_or_default();
        table.row([
            (text("group"), Colour::Bold),
            (state, colour),
            (text("strategy"), Colour::Plain),
            (format!("{healthy}/{}", members.len()), Colour::Plain),
            (members.iter().map(member).collect::<Vec<_>>().join(" "), Colour::Plain),
        ]);
    }
    Some(table)
}

/// Its name, and how it is unless it is well.
fn member(member: &Value) -> String {
    let text = |key: &str| member.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("health") {
        "healthy" => text("id").to_owned(),
        health => format!("{} ({health})", text("id")),
    }
}
