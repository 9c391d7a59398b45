//! `tools` and `call`: what the providers offer, and using it from a shell.

use std::{io::Read as _, time::Duration};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    admin::{Admin, refusal, step},
    args::{Call, Gateway},
    discover,
    exit::{Exit, fail},
    output::{Colour, Out, Table, shortened},
    status::entries,
};

/// Looking waits for nothing.
const QUICK: Duration = Duration::from_secs(15);

/// One provider's tools, or everybody's: then a provider that cannot say is told of, and the others are listed.
pub(super) async fn tools(choice: Gateway, provider: Option<&str>, out: &mut Out) -> anyhow::Result<Exit> {
    let admin = discover::newest(&choice).await?;
    let names = match provider {
        Some(name) => vec![name.to_owned()],
        None => in_service(&admin).await?,
    };
    let answers = join_all(names.iter().map(|name| offered(&admin, name))).await;
    let mut worst = Exit::Ok;
    let mut table = Table::with_header(&["PROVIDER", "TOOL", "DESCRIPTION"]);
    let mut listed = Vec::new();
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(tools) => {
                tools.iter().for_each(|tool| table.row(row(name, tool)));
                listed.push(json!({"provider": name, "tools": tools}));
            }
            Err(error) if provider.is_some() => return Err(error),
            Err(error) => {
                listed.push(json!({"provider": name, "error": error.to_string()}));
                worst = worst.max(super::settle(Err(error), true)?);
            }
        }
    }
    if out.json {
        out.document(&json!({"providers": listed}))?;
    } else {
        out.table(&table)?;
    }
    Ok(worst)
}

/// A provider that was never seen is started to learn what it offers; its startup_timeout_s bounds that.
async fn offered(admin: &Admin, name: &str) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/providers/{}", step(name));
    let mut answer = admin.get(&format!("{path}/tools"), QUICK).await?.success(admin)?;
    if answer.get("known") == Some(&Value::Bool(false)) {
        admin.post(&format!("{path}/start"), b"{}".to_vec(), None).await?.success(admin)?;
        answer = admin.get(&format!("{path}/tools"), QUICK).await?.success(admin)?;
    }
    match answer.get_mut("tools").map(Value::take) {
        Some(Value::Array(tools)) => Ok(tools),
        _ => Ok(Vec::new()),
    }
}

async fn in_service(admin: &Admin) -> anyhow::Result<Vec<String>> {
    let listing = admin.get("/api/providers", QUICK).await?.success(admin)?;
    let on = entries(&listing).iter().filter(|one| one.get("enabled") != Some(&Value::Bool(false)));
    Ok(on.filter_map(|one| Some(one.get("provider")?.as_str()?.to_owned())).collect())
}

fn row(provider: &str, tool: &Value) -> [(String, Colour); 3] {
    let text = |key: &str| tool.get(key).and_then(Value::as_str).unwrap_or_default();
    let about = text("description").lines().next().unwrap_or_default().trim();
    [(provider.to_owned(), Colour::Plain), (text("name").to_owned(), Colour::Bold), (shortened(about), Colour::Plain)]
}

/// What is sent; the arguments keep their spelling.
#[derive(Serialize)]
struct CallBody<'a> {
    tool: &'a str,
    arguments: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_s: Option<f64>,
}

pub(super) async fn call(call: Call, out: &mut Out) -> anyhow::Result<Exit> {
    let arguments = arguments(&call.arguments)?;
    let admin = discover::newest(&call.gateway).await?;
    let timeout_s = call.timeout.map(|timeout| timeout.as_secs_f64());
    let body = serde_json::to_vec(&CallBody { tool: &call.tool, arguments: &arguments, timeout_s })?;
    // The gateway bounds it: startup_timeout_s and call_timeout_s of the provider, or what was asked for.
    let answer = admin.post(&format!("/api/providers/{}/call", step(&call.provider)), body, None).await?;
    let result = answer.json(&admin)?;
    if answer.status != 200 {
        if out.json {
            out.document(&result)?;
        }
        return Err(refusal(answer.status, &result).into());
    }
    if out.json {
        // As the provider spelled it.
        out.write(&answer.body)?;
        out.write(b"\n")?;
    } else {
        print(out, &result)?;
    }
    Ok(if result.get("isError") == Some(&Value::Bool(true)) { Exit::Found } else { Exit::Ok })
}

/// Text as text, anything else as JSON.
fn print(out: &mut Out, result: &Value) -> anyhow::Result<()> {
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for block in blocks {
        match (block.get("type").and_then(Value::as_str), block.get("text").and_then(Value::as_str)) {
            (Some("text"), Some(text)) => out.foreign(text.strip_suffix('\n').unwrap_or(text))?,
            _ => out.document(block)?,
        }
    }
    match result.get("structuredContent") {
        Some(structured) if blocks.is_empty() => out.document(structured),
        _ => Ok(()),
    }
}

/// One JSON object, checked here: where it is wrong is told before anything is sent.
fn arguments(typed: &str) -> anyhow::Result<Box<RawValue>> {
    let (text, origin) = if typed == "-" {
        let mut text = String::new();
        if let Err(error) = std::io::stdin().read_to_string(&mut text) {
            return fail(Exit::Usage, format!("the arguments cannot be read from stdin: {error}"));
        }
        (text, " on stdin")
    } else {
        (typed.to_owned(), "")
    };
    // A trial parse into values first: a raw value has no limit of depth.
    let checked = serde_json::from_str::<Value>(&text);
    match checked {
        Ok(Value::Object(_)) => Ok(RawValue::from_string(text.trim().to_owned())?),
        Ok(_) => fail(Exit::Usage, format!("the arguments{origin} are not a JSON object such as '{{\"a\": 1}}'")),
        // Names line and column.
        Err(error) => fail(Exit::Usage, format!("the arguments{origin} are not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Failure;

    #[test]
    fn arguments_keep_their_spelling_or_say_where_they_are_wrong() {
        assert_eq!(arguments(" {\"a\": 1.10, \"b\":1e2} ").unwrap().get(), "{\"a\": 1.10, \"b\":1e2}");
        for (typed, says) in [
            ("{\"a\": }", "line 1 column 7"),
            ("{\n  \"a\" 1}", "line 2 column 7"),
            ("[1]", "not a JSON object"),
            ("", "line 1 column 0"),
            ("{} {}", "line 1 column 4"),
        ] {
            let error = arguments(typed).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, Exit::Usage);
            assert!(error.to_string().contains(says), "{typed}: {error}");
        }
    }
}
