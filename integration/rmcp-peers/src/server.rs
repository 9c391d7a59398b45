//! What every server of the matrix offers, by rmcp: `NAME` on stdio, `NAME PORT` streamable HTTP on loopback.
#![allow(deprecated)] // what revision 2026-07-28 has dropped is what a legacy client asks for

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};

const WATCHED: &str = "test://x";

#[derive(Clone)]
struct Server {
    name: Arc<str>,
    cancelled: Arc<AtomicUsize>,
    listening: Arc<Mutex<Vec<SubscriptionSink>>>,
    grown: Arc<AtomicBool>,
}

type Context = RequestContext<RoleServer>;

fn made<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn modern(context: &Context) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn required(key: &str, method: &str, params: Value) -> Result<CallToolResponse, ErrorData> {
    made(json!({key: {"method": method, "params": params}}))
        .map(|requests| InputRequiredResult::from_input_requests(requests).into())
}

impl Server {
    async fn sinks(&self) -> Vec<SubscriptionSink> {
        // rmcp acknowledges a subscription before it calls `listen`: who was told of it may be quicker than that.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.listening.lock().map(|sinks| sinks.clone()).unwrap_or_default()
    }

    async fn perform(&self, asked: CallToolRequestParams, context: &Context) -> Result<CallToolResponse, ErrorData> {
        let name = &self.name;
        let arguments = asked.arguments.clone().unwrap_or_default();
        let answers = asked.input_responses.as_ref();
        let answer = match asked.name.as_ref() {
            "echo" => text(format!("{name}: {}", arguments["text"].as_str().unwrap_or_default())),
            "add" => {
                let sum = arguments["a"].as_i64().unwrap_or(0) + arguments["b"].as_i64().unwrap_or(0);
                CallToolResult::structured(json!({ "sum": sum }))
            }
            "fail" => CallToolResult::error(vec![ContentBlock::text("broken on purpose")]),
            "steps" => {
                if let Some(token) = context.meta.get_progress_token() {
                    for step in [1.0, 2.0] {
                        let param = ProgressNotificationParam::new(token.clone(), step).with_total(2.0);
                        context.peer.notify_progress(param).await.map_err(broken)?;
                    }
                }
                tokio::time::sleep(Duration::from_millis(300)).await; // as in the other servers
                text("done")
            }
            "speak" => {
                let param = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(format!("log of {name}")));
                context.peer.notify_logging_message(param).await.map_err(broken)?;
                // Over HTTP it takes the session's stream, beside that of the answer, and must not be overtaken: a gateway that
                // other clients share knows whose it is as long as the call runs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                text("done")
            }
            "wait" => tokio::select! {
                () = context.ct.cancelled() => {
                    self.cancelled.fetch_add(1, Ordering::SeqCst);
                    text("cancelled")
                }
                () = tokio::time::sleep(Duration::from_secs(20)) => text("not cancelled"),
            },
            "cancels" => text(self.cancelled.load(Ordering::SeqCst).to_string()),
            "touch" => {
                for sink in self.sinks().await {
                    let _ = sink.notify_resource_updated(WATCHED).await;
                }
                if !modern(context) {
                    let param = ResourceUpdatedNotificationParam::new(WATCHED);
                    context.peer.notify_resource_updated(param).await.map_err(broken)?;
                }
                text("done")
            }
            "grow" => {
                self.grown.fetch_xor(true, Ordering::SeqCst);
                for sink in self.sinks().await {
                    let _ = sink.notify_tool_list_changed().await;
                }
                if !modern(context) {
                    context.peer.notify_tool_list_changed().await.map_err(broken)?;
                }
                text("done")
            }
            "ask" => {
                let schema =
                    json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
                let params = json!({"mode": "form", "message": "Who is there?", "requestedSchema": schema});
                let answer = match answers.and_then(|answers| answers.get("who")) {
                    Some(answer) => answer.clone(),
                    None if modern(context) => return required("who", "elicitation/create", params),
                    None => {
                        let answer = context.peer.create_elicitation(made(params)?).await.map_err(broken)?;
                        serde_json::to_value(answer).map_err(broken)?
                    }
                };
                text(format!("{name} greets {}", answer["content"]["name"].as_str().unwrap_or_default()))
            }
            "think" => {
                let messages = json!([{"role": "user", "content": {"type": "text", "text": "Think."}}]);
                let params = json!({"messages": messages, "maxTokens": 10});
                let answer = match answers.and_then(|answers| answers.get("thought")) {
                    Some(answer) => answer.clone(),
                    None if modern(context) => return required("thought", "sampling/createMessage", params),
                    None => {
                        let answer = context.peer.create_message(made(params)?).await.map_err(broken)?;
                        serde_json::to_value(answer).map_err(broken)?
                    }
                };
                text(format!("{name} was told {}", answer["content"]["text"].as_str().unwrap_or_default()))
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(answer.into())
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = made(json!({
            "tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
            "prompts": {"listChanged": true}, "completions": {}, "logging": {},
        }));
        ServerConfig::new(capabilities.unwrap_or_default())
            .with_server_info(Implementation::new(self.name.to_string(), "1"))
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: Context) -> Result<ListToolsResult, ErrorData> {
        let empty = json!({"type": "object", "properties": {}});
        let mut tools: Vec<Value> = ["fail", "steps", "speak", "wait", "cancels", "touch", "grow", "ask", "think"]
            .map(|name| json!({"name": name, "inputSchema": empty}))
            .into();
        if self.grown.load(Ordering::SeqCst) {
            tools.push(json!({"name": "grown", "inputSchema": empty}));
        }
        let words = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
        tools.push(json!({"name": "echo", "inputSchema": words}));
        let integer = json!({"type": "integer"});
        tools.push(json!({
            "name": "add",
            "inputSchema": {"type": "object", "properties": {"a": integer, "b": integer}, "required": ["a", "b"]},
            "outputSchema": {"type": "object", "properties": {"sum": integer}, "required": ["sum"]},
        }));
        Ok(ListToolsResult::with_all_items(made(Value::Array(tools))?))
    }

    async fn call_tool(&self, asked: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        self.perform(asked, &context).await
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let greet = json!([{"name": "greet", "arguments": [{"name": "name", "required": true}]}]);
        Ok(ListPromptsResult::with_all_items(made(greet)?))
    }

    async fn get_prompt(&self, asked: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        let name = asked.arguments.as_ref().and_then(|given| given.get("name").cloned()).unwrap_or_default();
        let said = format!("{} greets {}", self.name, name.as_str().unwrap_or_default());
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, said)]).into())
    }

    async fn complete(&self, asked: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        let people = ["Ada", "Alan"].into_iter().filter(|name| name.starts_with(&asked.argument.value));
        let values = people.map(String::from).collect();
        Ok(CompleteResult::new(CompletionInfo::new(values).map_err(broken)?))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(made(json!([{"uri": WATCHED, "name": "x"}]))?))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let item = json!([{"uriTemplate": "test://item/{number}", "name": "item"}]);
        Ok(ListResourceTemplatesResult::with_all_items(made(item)?))
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let said = match asked.uri.strip_prefix("test://item/") {
            Some(number) => format!("item {number} of {}", self.name),
            None if asked.uri == WATCHED => format!("the x of {}", self.name),
            None => return Err(ErrorData::resource_not_found("no such resource", None)),
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(said, asked.uri)]).into())
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        if let Ok(mut sinks) = self.listening.lock() {
            sinks.push(context.sink().clone());
        }
        context.cancelled().await; // the sink refuses from here on; as many are kept as a run of the matrix opens
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "rmcp".into()).into();
    let server = Server { name, cancelled: Arc::default(), listening: Arc::default(), grown: Arc::default() };
    let Some(port) = arguments.next() else {
        server.serve(rmcp::transport::stdio()).await?.waiting().await?;
        return Ok(());
    };
    let service: StreamableHttpService<Server, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), StreamableHttpServerConfig::default());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}
