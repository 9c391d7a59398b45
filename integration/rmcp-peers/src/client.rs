//! rmcp through the checks of the matrix: `rmcp-client TARGETS`, and the same lines as clients/matrix.py.
#![allow(deprecated)] // what revision 2026-07-28 has dropped is what a legacy server offers

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rmcp::model::*;
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const WATCHED: &str = "test://x";
const CHECKS: [&str; 14] = [
    "tools",
    "structured",
    "errors",
    "progress",
    "logging",
    "elicitation",
    "sampling",
    "prompts",
    "completion",
    "resources",
    "templates",
    "subscribe",
    "list_changed",
    "cancel",
];

type Running = RunningService<RoleClient, Handler>;

/// What came unasked.
#[derive(Default)]
struct Heard {
    progress: Vec<(f64, Option<f64>)>,
    logs: Vec<Value>,
    updated: Vec<String>,
    changed: usize,
}

#[derive(Clone, Default)]
struct Handler(Arc<Mutex<Heard>>);

impl Handler {
    fn with<T>(&self, perform: impl FnOnce(&mut Heard) -> T) -> T {
        perform(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn hear(&self, notification: &ServerNotification) {
        self.with(|heard| match notification {
            ServerNotification::ResourceUpdatedNotification(updated) => heard.updated.push(updated.params.uri.clone()),
            ServerNotification::ToolListChangedNotification(_) => heard.changed += 1,
            _ => {}
        });
    }

    async fn until(&self, what: &str, seconds: u64, mut reached: impl FnMut(&mut Heard) -> bool) -> anyhow::Result<()> {
        for _ in 0..20 * seconds {
            if self.with(&mut reached) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("no {what} for {seconds} s")
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let capabilities = serde_json::from_value(json!({"elicitation": {"form": {}}, "sampling": {}}));
        let me = Implementation::new("matrix", "1");
        ClientConfig::new(capabilities.unwrap_or_default(), me).with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        made(json!({"action": "accept", "content": {"name": "Ada"}}))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text("deep"), "m".into()))
    }

    async fn on_progress(&self, param: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.with(|heard| heard.progress.push((param.progress, param.total)));
    }

    async fn on_logging_message(&self, param: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        self.with(|heard| heard.logs.push(param.data));
    }

    async fn on_resource_updated(&self, param: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.with(|heard| heard.updated.push(param.uri));
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.with(|heard| heard.changed += 1);
    }
}

fn made<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn say(line: Value) {
    println!("{line}");
}

struct Checks<'a> {
    client: &'a Running,
    modern: bool,
    name: &'a str,
    prefix: &'a str,
    uris: &'a str,
    /// Seconds that something unasked may take.
    patience: u64,
}

impl Checks<'_> {
    fn uri(&self, uri: &str) -> String {
        format!("{}{uri}", self.uris)
    }

    fn asked(&self, tool: &str, arguments: &Value) -> anyhow::Result<CallToolRequestParams> {
        made(json!({"name": format!("{}{tool}", self.prefix), "arguments": arguments}))
    }

    async fn call(&self, tool: &str, arguments: Value) -> anyhow::Result<CallToolResult> {
        Ok(self.client.call_tool(self.asked(tool, &arguments)?).await?)
    }

    async fn text(&self, tool: &str, arguments: Value) -> anyhow::Result<String> {
        let answer = serde_json::to_value(self.call(tool, arguments).await?)?;
        answer["content"][0]["text"].as_str().map(String::from).with_context(|| answer.to_string())
    }

    async fn says(&self, wanted: &str, tool: &str, arguments: Value) -> anyhow::Result<()> {
        let text = self.text(tool, arguments).await?;
        ensure!(text == wanted, "{tool} says {text}");
        Ok(())
    }

    async fn read(&self, uri: &str) -> anyhow::Result<String> {
        let answer = self.client.read_resource(made(json!({"uri": self.uri(uri)}))?).await?;
        let answer = serde_json::to_value(answer)?;
        answer["contents"][0]["text"].as_str().map(String::from).with_context(|| answer.to_string())
    }

    /// A call whose log messages are wanted, by the means of the client's era.
    async fn speak(&self) -> anyhow::Result<()> {
        if !self.modern {
            self.client.set_level(made(json!({"level": "info"}))?).await?;
            return self.says("done", "speak", json!({})).await;
        }
        let mut meta = RequestMetaObject::default();
        meta.set_log_level(LoggingLevel::Info);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(self.asked("speak", &json!({}))?));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        self.client.send_request_with_option(request, options).await?.await_response().await?;
        Ok(())
    }

    async fn cancels(&self) -> anyhow::Result<usize> {
        Ok(self.text("cancels", json!({})).await?.parse()?)
    }

    async fn perform(&self, check: &str) -> anyhow::Result<()> {
        let (client, name, handler) = (self.client, self.name, self.client.service());
        match check {
            "tools" => {
                let tools = client.list_all_tools().await?;
                ensure!(tools.iter().any(|tool| tool.name == format!("{}echo", self.prefix)), "no echo");
                self.says(&format!("{name}: hi"), "echo", json!({"text": "hi"})).await?;
            }
            "structured" => {
                let tools = client.list_all_tools().await?;
                let add = tools.iter().find(|tool| tool.name == format!("{}add", self.prefix)).context("no add")?;
                ensure!(add.output_schema.is_some(), "no output schema");
                let answer = self.call("add", json!({"a": 1, "b": 2})).await?;
                ensure!(answer.structured_content == Some(json!({"sum": 3})), "{:?}", answer.structured_content);
            }
            "errors" => {
                let answer = serde_json::to_value(self.call("fail", json!({})).await?)?;
                ensure!(answer["isError"] == true && answer.to_string().contains("broken on purpose"), "{answer}");
                if let Ok(answer) = self.call("nothing_of_this_name", json!({})).await {
                    ensure!(answer.is_error == Some(true), "a tool that is not there: {answer:?}");
                }
                ensure!(self.read("test://nowhere").await.is_err(), "a resource that is not there is read");
            }
            "progress" => {
                handler.with(|heard| heard.progress.clear());
                self.says("done", "steps", json!({})).await?;
                // rmcp hands notifications to tasks of their own, in any order.
                let both = [(1.0, Some(2.0)), (2.0, Some(2.0))];
                handler
                    .until("progress", self.patience, |heard| both.iter().all(|step| heard.progress.contains(step)))
                    .await?;
            }
            "logging" => {
                self.speak().await?;
                handler
                    .until("log message", self.patience, |heard| heard.logs.contains(&json!(format!("log of {name}"))))
                    .await?;
            }
            "elicitation" => self.says(&format!("{name} greets Ada"), "ask", json!({})).await?,
            "sampling" => self.says(&format!("{name} was told deep"), "think", json!({})).await?,
            "prompts" => {
                let greet = format!("{}greet", self.prefix);
                ensure!(client.list_all_prompts().await?.iter().any(|prompt| prompt.name == greet), "no greet");
                let asked = made(json!({"name": greet, "arguments": {"name": "Bo"}}))?;
                let answer = serde_json::to_value(client.get_prompt(asked).await?)?;
                ensure!(answer["messages"][0]["content"]["text"] == format!("{name} greets Bo"), "{answer}");
            }
            "completion" => {
                let values = client.complete_prompt_simple(format!("{}greet", self.prefix), "name", "A").await?;
                ensure!(values == ["Ada", "Alan"], "{values:?}");
            }
            "resources" => {
                let listed = serde_json::to_value(client.list_all_resources().await?)?;
                ensure!(listed.to_string().contains(&format!("\"{}\"", self.uri(WATCHED))), "{listed}");
                ensure!(self.read(WATCHED).await? == format!("the x of {name}"), "another text");
            }
            "templates" => {
                let listed = serde_json::to_value(client.list_all_resource_templates().await?)?;
                ensure!(listed.to_string().contains(&format!("\"{}\"", self.uri("test://item/{number}"))), "{listed}");
                ensure!(self.read("test://item/7").await? == format!("item 7 of {name}"), "another text");
            }
            "subscribe" => {
                let uri = self.uri(WATCHED);
                if !self.modern {
                    client.subscribe(made(json!({ "uri": uri }))?).await?;
                }
                handler.with(|heard| heard.updated.clear());
                self.says("done", "touch", json!({})).await?;
                handler.until("update", self.patience, |heard| heard.updated.contains(&uri)).await?;
                if !self.modern {
                    client.unsubscribe(made(json!({ "uri": uri }))?).await?;
                }
            }
            "list_changed" => {
                let told = handler.with(|heard| heard.changed);
                self.says("done", "grow", json!({})).await?;
                handler.until("list_changed", self.patience, |heard| heard.changed > told).await?;
            }
            "cancel" => {
                let before = self.cancels().await?;
                // Dropping the call cancels it.
                let _ = timeout(Duration::from_millis(300), self.call("wait", json!({}))).await;
                for _ in 0..30 {
                    if self.cancels().await? > before {
                        return Ok(());
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                bail!("the server saw no cancellation within 3 s");
            }
            other => bail!("no check {other}"),
        }
        Ok(())
    }
}

async fn connect(target: &Value, mode: &str) -> anyhow::Result<Running> {
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match mode {
        "legacy" => ClientLifecycleMode::Initialize,
        "auto" => ClientLifecycleMode::Auto { preferred_versions: modern, legacy_version: None },
        _ => ClientLifecycleMode::Discover { preferred_versions: modern },
    };
    if let Some(url) = target["url"].as_str() {
        let transport = StreamableHttpClientTransport::from_uri(url);
        return Ok(Handler::default().serve_with_lifecycle(transport, lifecycle).await?);
    }
    let words: Vec<String> = made(target["command"].clone())?;
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    if let Some(env) = target["env"].as_object() {
        command.envs(env.iter().filter_map(|(key, value)| Some((key, value.as_str()?))));
    }
    Ok(Handler::default().serve_with_lifecycle(TokioChildProcess::new(command)?, lifecycle).await?)
}

/// Revision 2026-07-28 tells changes on a subscription only.
async fn listen(client: &Running, uris: Vec<String>) -> anyhow::Result<()> {
    let filter = made(json!({"toolsListChanged": true, "resourceSubscriptions": uris}))?;
    let mut subscription = timeout(Duration::from_secs(20), client.listen(filter)).await??;
    let handler = client.service().clone();
    tokio::spawn(async move {
        while let Ok(Some(notification)) = subscription.next().await {
            handler.hear(&notification);
        }
    });
    Ok(())
}

async fn converse(target: &Value, names: &Value, mode: &str) -> anyhow::Result<()> {
    let client = timeout(Duration::from_secs(60), connect(target, mode)).await??;
    let protocol = client.peer_info().context("no server")?.protocol_version.clone();
    let modern = protocol >= ProtocolVersion::V_2026_07_28;
    say(json!({"servers": names, "protocol": protocol}));
    let servers = target["servers"].as_array().context("no servers")?;
    let word = |server: &Value, key: &str| server[key].as_str().unwrap_or_default().to_string();
    if modern {
        let uris = servers.iter().map(|server| word(server, "uris") + WATCHED).collect();
        if let Err(error) = listen(&client, uris).await {
            say(json!({"note": format!("listen: {error:#}")}));
        }
    }
    // Everything behind a gateway starts at the first listing.
    let _ = timeout(Duration::from_secs(90), client.list_all_tools()).await;
    // Servers that have just been started may say on their own that their lists have changed.
    let mut told = usize::MAX;
    for _ in 0..20 {
        let now = client.service().with(|heard| heard.changed);
        if std::mem::replace(&mut told, now) == now {
            break;
        }
        sleep(Duration::from_millis(300)).await;
    }
    for server in servers {
        let (name, prefix, uris) = (word(server, "name"), word(server, "prefix"), word(server, "uris"));
        let patience = server["patience"].as_u64().unwrap_or(5);
        let checks = Checks { client: &client, modern, name: &name, prefix: &prefix, uris: &uris, patience };
        for check in CHECKS {
            let ended = timeout(Duration::from_secs(30), checks.perform(check)).await;
            let detail = match ended.unwrap_or_else(|_| Err(anyhow::anyhow!("no end within 30 s"))) {
                Ok(()) => {
                    say(json!({"server": name, "check": check, "outcome": "yes"}));
                    continue;
                }
                Err(error) => format!("{error:#}").chars().take(400).collect::<String>(),
            };
            say(json!({"server": name, "check": check, "outcome": "no", "detail": detail}));
        }
    }
    let _ = timeout(Duration::from_secs(10), client.cancel()).await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ask: Value = serde_json::from_str(&std::env::args().nth(1).context("TARGETS")?)?;
    let mode = ask["mode"].as_str().context("no mode")?;
    for target in ask["targets"].as_array().context("no targets")? {
        let names: Value =
            target["servers"].as_array().into_iter().flatten().map(|server| server["name"].clone()).collect();
        if let Err(error) = converse(target, &names, mode).await {
            let error: String = format!("{error:#}").chars().take(400).collect();
            say(json!({"servers": names, "error": error}));
        }
    }
    Ok(())
}
