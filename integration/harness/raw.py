"""A client of lines of JSON on a gateway's stdio: a legacy handshake, requests, and an answer to whatever it is asked."""

import json
import os
import subprocess
import threading
from pathlib import Path

from . import gateway

ANSWERS = {
    "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "x"}},
    "roots/list": {"roots": []},
}


def defaults(params):
    """Accepts a form with the defaults that its schema names."""
    properties = params.get("requestedSchema", {}).get("properties", {})
    return {"action": "accept", "content": {k: v["default"] for k, v in properties.items() if "default" in v}}


class RawClient:
    def __init__(self, config, home):
        home = Path(home)
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.yaml").write_text(config)
        env = os.environ | {"XDG_STATE_HOME": str(home / "state"), "XDG_RUNTIME_DIR": str(home)}
        self.process = subprocess.Popen(
            [gateway.BINARY, "serve", "--config", str(home / "config.yaml")], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(home / "gateway.log", "ab"),
        )
        self.asked, self.told = [], []
        self.answers, self.changed, self.last = {}, threading.Condition(), 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            method = message.get("method")
            if method and "id" in message:
                self.asked.append(method)
                form = method == "elicitation/create"
                result = defaults(message["params"]) if form else ANSWERS.get(method, {})
                self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
            with self.changed:
                if method and "id" not in message:
                    self.told.append(message)
                elif not method:
                    self.answers[message["id"]] = message
                self.changed.notify_all()

    def send(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def request(self, method, params=None):
        self.last += 1
        number = self.last
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        with self.changed:
            if not self.changed.wait_for(lambda: number in self.answers, 30):
                raise TimeoutError(f"no answer to {method}")
            return self.answers.pop(number)

    def initialize(self):
        capabilities = {"elicitation": {}, "sampling": {}, "roots": {}}
        info = {"name": "raw", "version": "1"}
        self.request("initialize", {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def tool(self, name, arguments=None, **more):
        return self.request("tools/call", {"name": name, "arguments": arguments or {}, **more})

    def wait_told(self, method):
        with self.changed:
            return self.changed.wait_for(lambda: any(m["method"] == method for m in self.told), 10)

    def close(self):
        self.process.stdin.close()
        return self.process.wait(40)
