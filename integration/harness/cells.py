"""The matrix of peers: who is in it, how each is started, and one run of a client against servers."""

import contextlib
import json
import os
import subprocess
import threading
import time

from . import gateway, peers

RMCP = peers.TARGET / "rmcp" / "debug"
WORK = peers.TARGET / "matrix"
PAGE_NAMES = {
    "py1": "Python `mcp` {mcp1}", "py2": "Python `mcp` {mcp2}", "ts1": "TypeScript `sdk` {sdk}",
    "ts2c": "TypeScript `client` {client}", "ts2": "TypeScript `server` {server}", "rmcp": "Rust `rmcp` {rmcp}",
    "inspector": "Inspector CLI {inspector}",
}
# SDK -> the modes that its client is run in. "2026-07-28" speaks nothing else.
CLIENTS = {
    "py1": ["legacy"], "py2": ["legacy", "auto", "2026-07-28"], "ts1": ["legacy"], "ts2c": ["legacy", "auto", "2026-07-28"],
    "rmcp": ["legacy", "auto", "2026-07-28"], "inspector": ["legacy", "auto", "2026-07-28"],
}
# SDK -> the eras that its server is spoken to in: `protocol` of the provider.
SERVERS = {
    "py1": ["legacy"], "py2": ["legacy", "2026-07-28"], "ts1": ["legacy"], "ts2": ["legacy", "2026-07-28"],
    "rmcp": ["legacy", "2026-07-28"],
}
TRANSPORTS = ["stdio", "http"]
CHECKS = {
    "tools": "tools", "structured": "structured output", "errors": "errors", "progress": "progress", "logging": "logging",
    "elicitation": "elicitation", "sampling": "sampling", "prompts": "prompts", "completion": "completion",
    "resources": "resources", "templates": "resource templates", "subscribe": "subscriptions", "list_changed": "list_changed",
    "cancel": "cancellation",
}
# The Inspector's command line answers no questions, hears nothing, and cannot complete or cancel.
INSPECTED = ["tools", "structured", "errors", "prompts", "resources", "templates"]


def clients():
    return [(sdk, mode) for sdk, modes in CLIENTS.items() for mode in modes]


def servers():
    """(name of the provider, SDK, era, transport)"""
    for sdk, eras in SERVERS.items():
        for era in eras:
            for transport in TRANSPORTS:
                yield f"{sdk}-{'old' if era == 'legacy' else 'new'}-{transport}", sdk, era, transport


def server_command(sdk, name, *port):
    start = {
        "py1": [peers.python(peers.MCP1), str(peers.HERE / "servers" / "matrix.py")],
        "py2": [peers.python(peers.MCP2), str(peers.HERE / "servers" / "matrix.py")],
        "ts1": [str(peers.NODE), str(peers.NPM / "matrix-ts1.mjs")],
        "ts2": [str(peers.NODE), str(peers.NPM / "matrix-ts2.mjs")],
        "rmcp": [str(RMCP / "rmcp-server")],
    }[sdk]
    return [*start, name, *map(str, port)]


def client_command(sdk):
    return {
        "py1": [peers.python(peers.MCP1), str(peers.HERE / "clients" / "matrix.py")],
        "py2": [peers.python(peers.MCP2), str(peers.HERE / "clients" / "matrix.py")],
        "ts1": [str(peers.NODE), str(peers.NPM / "matrix.mjs"), "sdk"],
        "ts2c": [str(peers.NODE), str(peers.NPM / "matrix.mjs"), "client"],
        "rmcp": [str(RMCP / "rmcp-client")],
        "inspector": [peers.python(peers.MCP2), str(peers.HERE / "clients" / "inspector.py")],
    }[sdk]


@contextlib.contextmanager
def http_servers(wanted, log):
    """The servers of that transport, each a process with a name of its own; name -> URL."""
    running, ports = [], {}
    try:
        for name, sdk, _, _ in wanted:
            port = ports[name] = gateway.free_port()
            with open(log, "ab") as words:
                running.append(subprocess.Popen(
                    server_command(sdk, name, port), stdin=subprocess.DEVNULL, stdout=words, stderr=words))
        for name, port in ports.items():
            gateway.wait_listening(port)
        yield {name: f"http://127.0.0.1:{port}/mcp" for name, port in ports.items()}
    finally:
        for process in running:
            process.kill()
            process.wait()


class Config:
    """A gateway in front of every server of the matrix."""

    def __init__(self, folder, urls):
        (folder / "run").mkdir(parents=True, exist_ok=True)
        self.path, self.folder = folder / "config.yaml", folder
        providers = {}
        for name, sdk, era, transport in servers():
            where = {"mode": "remote", "endpoint": urls[name]} if transport == "http" else {"command": server_command(sdk, name)}
            # A server of both eras is pinned: on a machine that is busy it may be late for the question, and is then legacy.
            providers[name] = where | ({"protocol": era} if len(SERVERS[sdk]) > 1 else {})
        # All of them start at once, on a machine that may be busy.
        whole = {"providers": providers, "config_reload": {"enabled": False}, "server": {"list_timeout_s": 60}}
        self.path.write_text(json.dumps(whole, indent=1))

    def environment(self):
        folder = str(self.folder)
        return {
            "PATH": os.environ["PATH"], "HOME": folder, "XDG_STATE_HOME": f"{folder}/state", "XDG_RUNTIME_DIR": f"{folder}/run",
            "MCP_CONFIG": str(self.path),
        }


def behind_gateway(client, front):
    return [
        {"name": name, "prefix": f"{name}__", "uris": f"hangar://{name}/", "patience": patience(sdk, era, transport)}
        for name, sdk, era, transport in servers() if asks(client, front, name)
    ]


def asks(client, front, name):
    """The Inspector's questions cost a process each, over stdio also a gateway and a server: it does not ask everybody."""
    asked = {"http": name.endswith("-http"), "stdio": name in ("ts1-old-stdio", "rmcp-new-stdio")}
    return client != "inspector" or asked[front]


def patience(sdk, era, transport):
    """Seconds that something unasked may take. The TypeScript `server` tells legacy clients nothing over HTTP."""
    return 1 if (sdk, era, transport) == ("ts2", "legacy", "http") else 10


def run_client(sdk, mode, targets, folder, seconds=420):
    """Server name -> {"protocol" | "error", "no": {check: why}, "yes": [check]}"""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    inspector = [*peers.module("inspector", "clients/launcher/build/index.js")]
    env = os.environ | {"HOME": str(home), "INSPECTOR": json.dumps(inspector), "PYTHONUNBUFFERED": "1"}
    command = [*client_command(sdk), json.dumps({"mode": mode, "targets": targets})]
    names = [server["name"] for target in targets for server in target["servers"]]
    found = {name: {"yes": [], "no": {}} for name in names}
    with open(folder / "client.log", "wb") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True, env=env)
    start, late = time.monotonic(), threading.Timer(seconds, process.kill)
    late.start()
    lines, at = [], open(folder / "client.jsonl", "w", encoding="utf-8")
    for line in process.stdout:
        at.write(f"{time.monotonic() - start:.2f} {line}")
        lines.append(json.loads(line))
    late.cancel()
    at.close()
    process.wait()
    for line in lines:
        for name in line.get("servers", []):
            found[name] |= {key: line[key] for key in ("protocol", "error") if key in line}
        if line.get("outcome") == "yes":
            found[line["server"]]["yes"].append(line["check"])
        elif "check" in line:
            found[line["server"]]["no"][line["check"]] = line["detail"]
    for name in names:
        if not {"protocol", "error"} & found[name].keys():
            found[name]["error"] = f"the client ended with {process.returncode} before it came to this server"
    return found
