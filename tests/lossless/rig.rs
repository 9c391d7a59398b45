//! One gateway with a raw server of every transport and era behind it, and raw clients of every front before it.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::engine::{self, Engine};
use crate::gateway::{Client, Gateway, Home, SOON, UNWATCHED, config, eventually, json};

const RAW: &str = env!("CARGO_BIN_EXE_hangar-test-raw");
pub const CAPABILITIES: &str = r#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Stdio,
    /// Takes one JSON text.
    Json,
    /// Takes a stream.
    Sse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern,
}

/// What sits behind the gateway: `name`, how it is reached, what it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    pub name: &'static str,
    pub mode: &'static str,
    pub era: Era,
}

const fn upstream(name: &'static str, mode: &'static str, era: Era) -> Upstream {
    Upstream { name, mode, era }
}

const UPSTREAMS: [Upstream; 7] = [
    upstream("pl", "stdio", Era::Legacy),
    upstream("pm", "stdio", Era::Modern),
    upstream("jl", "json", Era::Legacy),
    upstream("jm", "json", Era::Modern),
    upstream("el", "sse", Era::Legacy),
    upstream("em", "sse", Era::Modern),
    upstream("ol", "legacy-sse", Era::Legacy),
];

/// In containers, where there is an engine.
const CONTAINERS: [Upstream; 2] = [upstream("dl", "docker", Era::Legacy), upstream("dm", "docker", Era::Modern)];

pub fn upstreams() -> Vec<Upstream> {
    let containers = if image().is_some() { CONTAINERS.as_slice() } else { &[] };
    UPSTREAMS.iter().chain(containers).copied().collect()
}

/// The raw server as an image.
fn image() -> Option<&'static str> {
    static IMAGE: OnceLock<Option<String>> = OnceLock::new();
    IMAGE.get_or_init(|| Engine::bring().map(|_| engine::import("raw", &[RAW]))).as_deref()
}

impl Upstream {
    /// Whether it is told and says things a line each.
    pub fn hears_lines(self) -> bool {
        matches!(self.mode, "stdio" | "docker")
    }

    pub fn says_lines(self) -> bool {
        self.mode != "json"
    }
}

pub struct Rig {
    pub gateway: Gateway,
    pub home: Arc<Home>,
    address: Option<SocketAddr>,
    session: String,
    connection: RefCell<Option<BufReader<TcpStream>>>,
    /// `hangar connect`, in the place of the gateway's own stdio.
    connect: Option<(Client, Child)>,
    remotes: Vec<Child>,
}

impl Rig {
    pub fn new(http: bool) -> Self {
        let home = Home::new();
        let (mut yaml, mut remotes) = (String::new(), Vec::new());
        for Upstream { name, mode, era } in upstreams() {
            let dir = home.path(name);
            fs::create_dir(&dir).unwrap();
            let era = if era == Era::Legacy { "legacy" } else { "modern" };
            let args = [mode, "--era", era, "--dir", dir.to_str().unwrap()];
            if mode == "stdio" {
                let command: Vec<&str> = [RAW].into_iter().chain(args).collect();
                yaml += &format!("  {name}: {{command: {}}}\n", json!(command));
                continue;
            }
            if let ("docker", Some(image)) = (mode, image()) {
                let command = json!(["stdio", "--era", era, "--dir", "/shared"]);
                let volumes = json!([format!("{}:/shared:rw", dir.display())]);
                yaml += &format!(
                    "  {name}: {{mode: docker, image: \"{image}\", command: {command}, volumes: {volumes}, user: current, \
                     stop: {{grace_s: 1, term_s: 0.5}}}}\n"
                );
                continue;
            }
            let mut child = Command::new(RAW).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut address = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
            remotes.push(child);
            let transport = if mode == "legacy-sse" { "sse" } else { "streamable_http" };
            let endpoint = format!("http://{}/mcp", address.trim());
            yaml += &format!("  {name}: {{mode: remote, endpoint: \"{endpoint}\", transport: {transport}}}\n");
        }
        home.put(&config(&yaml, UNWATCHED));
        let mut rig = match http {
            false => {
                let gateway = Gateway::spawn(&home);
                Self {
                    gateway,
                    home,
                    address: None,
                    session: String::new(),
                    connection: RefCell::default(),
                    connect: None,
                    remotes,
                }
            }
            true => {
                let gateway = Gateway::spawn_options(&home, &["--http", "--port", "0"]);
                gateway.wait_for_log("gateway_started");
                let log = gateway.log();
                let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                let address = Some(address.parse().unwrap());
                Self {
                    gateway,
                    home,
                    address,
                    session: String::new(),
                    connection: RefCell::default(),
                    connect: None,
                    remotes,
                }
            }
        };
        rig.greet(if http { Front::Json } else { Front::Stdio });
        rig
    }

    /// Over stdio, by way of a gateway that has started before.
    pub fn connected() -> Self {
        let mut rig = Self::new(true);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hangar"));
        command.args(["connect", "--config"]).arg(rig.home.config()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", rig.home.path("")).env("TMPDIR", rig.home.path("run"));
        command.env("XDG_STATE_HOME", rig.home.path("state")).env("XDG_RUNTIME_DIR", rig.home.path("run"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        rig.connect = Some((client, child));
        rig.greet(Front::Stdio);
        rig
    }

    fn greet(&mut self, front: Front) {
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{CAPABILITIES},"clientInfo":{{"name":"raw","version":"1"}}}}}}"#
        );
        let mut ours = |message: &str| panic!("{message}");
        self.session = self.exchange(front, &hello, "\"hello\"", "", &mut ours).1;
    }

    /// Everything that the upstream has got and that has `mark` in it, but answers.
    pub fn got(&self, upstream: Upstream, mark: &str) -> Vec<String> {
        let text = fs::read_to_string(self.home.path(upstream.name).join("got")).unwrap_or_default();
        let all = text.lines().map(|line| serde_json::from_str::<String>(line).unwrap());
        all.filter(|message| message.contains(mark)).collect()
    }

    /// As [`Rig::got`], once there is one.
    pub fn wait_got(&self, upstream: Upstream, mark: &str) -> Vec<String> {
        eventually(mark, SOON, || Some(self.got(upstream, mark)).filter(|got| !got.is_empty()))
    }

    pub fn script(&self, upstream: Upstream, name: &str) -> PathBuf {
        self.home.path(upstream.name).join(format!("{name}.script"))
    }

    /// Sends a request, and gives every message that comes for it, the answer last, as spelled; and the session. `asked`: for each
    /// request of the server, the answer to send, where there is one.
    pub fn exchange(
        &self,
        front: Front,
        message: &str,
        id: &str,
        headers: &str,
        asked: &mut dyn FnMut(&str) -> Option<String>,
    ) -> (Vec<String>, String) {
        if front == Front::Stdio {
            return (self.over_stdio(message, id, asked), String::new());
        }
        let accept = if front == Front::Json { "application/json" } else { "text/event-stream" };
        let mut stream = self.connection.take().unwrap_or_else(|| self.connect());
        let (length, session) = self.post(&mut stream, message, accept, headers);
        if let Some(length) = length {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            *self.connection.borrow_mut() = Some(stream);
            return (vec![String::from_utf8(body).unwrap()], session);
        }
        let (mut text, mut seen, mut all) = (String::new(), 0, Vec::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("{line:?} in {all:?}"));
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).unwrap();
            if length == 0 {
                break;
            }
            text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
            while let Some(end) = text[seen..].find("\n\n") {
                let event = text[seen..seen + end].to_owned();
                seen += end + 2;
                let Some((_, data)) = event.split_once("data: ") else { continue };
                assert!(!data.contains('\n'), "more than a line: {event}");
                if let Some(answer) = asked_of(data).and_then(|_| asked(data)) {
                    let mut other = self.connect();
                    self.post(&mut other, &answer, "application/json, text/event-stream", "");
                }
                all.push(data.to_owned());
            }
        }
        *self.connection.borrow_mut() = Some(stream);
        (all, session)
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        BufReader::new(stream)
    }

    fn post(
        &self,
        stream: &mut BufReader<TcpStream>,
        body: &str,
        accept: &str,
        headers: &str,
    ) -> (Option<usize>, String) {
        let own = match (self.session.as_str(), headers) {
            ("", _) => String::new(),
            (session, "") => format!("Mcp-Session-Id: {session}\r\n"),
            _ => headers.to_owned(),
        };
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: {accept}\r\n{own}Content-Length: {}\r\n\r\n",
            self.address.unwrap(),
            body.len()
        );
        stream.get_mut().write_all((head + body).as_bytes()).unwrap();
        let (mut line, mut length, mut session) = (String::new(), None, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line.trim().is_empty() {
                    return (length, session);
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "mcp-session-id" => session = value.to_owned(),
                _ => {}
            }
        }
    }

    fn over_stdio(&self, message: &str, id: &str, asked: &mut dyn FnMut(&str) -> Option<String>) -> Vec<String> {
        let client = self.connect.as_ref().map_or(&self.gateway.client, |(client, _)| client);
        let mut seen = client.lines().len();
        client.raw(message);
        let (mut all, began) = (Vec::new(), Instant::now());
        loop {
            let lines = client.lines();
            for line in &lines[seen..] {
                all.push(line.clone());
                match asked_of(line) {
                    Some(_) => asked(line).into_iter().for_each(|answer| client.raw(&answer)),
                    None if !has_method(line) && id_of(line) == id => return all,
                    None => {}
                }
            }
            seen = lines.len();
            assert!(began.elapsed() < SOON, "no answer to {message}: {all:?}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for remote in self.remotes.iter_mut().chain(self.connect.as_mut().map(|(_, child)| child)) {
            let _ = remote.kill();
            let _ = remote.wait();
        }
    }
}

fn raw(text: &str) -> std::collections::HashMap<String, Box<serde_json::value::RawValue>> {
    serde_json::from_str(text).unwrap_or_default()
}

fn has_method(text: &str) -> bool {
    raw(text).contains_key("method")
}

/// The id as spelled.
pub fn id_of(text: &str) -> String {
    raw(text).get("id").map(|id| id.get().to_owned()).unwrap_or_default()
}

/// The id of a request of the server's.
pub fn asked_of(text: &str) -> Option<String> {
    let raw = raw(text);
    raw.contains_key("method").then(|| raw.get("id").map(|id| id.get().to_owned())).flatten()
}
