//! `sharing: session`: each client session has an instance of its own, through the shipped binary.

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/exchange.rs"]
mod exchange;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/remote_process.rs"]
mod remote_process;

mod client;
mod elsewhere;
mod life;
mod modern;
mod reload;
mod routing;
mod storm;

use std::{net::SocketAddr, sync::Arc};

use gateway::{Gateway, Home};

/// One provider, `a`, of which each client has an instance.
fn served(home: &Arc<Home>, args: &[&str], keys: &str) -> (Gateway, SocketAddr) {
    Gateway::over_http(home, &per_client(home, args, keys))
}

fn per_client(home: &Home, args: &[&str], keys: &str) -> String {
    home.provider("a", args, &format!("sharing: session, {keys}"))
}

/// What a client of the API sees of `a`.
fn view(gateway: &Gateway, address: SocketAddr) -> gateway::Value {
    let (_, mut stream) = {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET /api/providers/a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        (gateway.pid(), stream)
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"))
}
