"""The MCP Inspector's command line through those checks of the matrix that it has: one process a question. Same lines as matrix.py.

`mode` is its --protocol-era, "2026-07-28" its `modern`. It answers no questions, hears nothing and cannot complete or cancel.
"""

import json
import os
import subprocess
import sys

CHECKS = ["tools", "structured", "errors", "prompts", "resources", "templates"]
COMMAND = json.loads(os.environ["INSPECTOR"])


class Inspector:
    def __init__(self, target, mode):
        era = ["--protocol-era", "modern" if mode.startswith("2") else mode]
        if "url" in target:
            self.command = [*COMMAND, "--cli", target["url"], "--transport", "http", *era]
        else:
            flags = [item for key, value in target.get("env", {}).items() for item in ("-e", f"{key}={value}")]
            self.command = [*COMMAND, "--cli", *flags, *target["command"], *era]
        self.lists = {}

    def ask(self, *arguments):
        command = [*self.command, *arguments, "--format", "json", "-q"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        # A tool that fails is exit 5, with the tool's answer on stdout all the same.
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise RuntimeError(f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[:300]}") from None
        return answer.get("result", answer)

    def list(self, method, key):
        if method not in self.lists:
            self.lists[method] = self.ask("--method", method)[key]
        return self.lists[method]


class Checks:
    def __init__(self, inspector, server):
        self.inspector, self.ask = inspector, inspector.ask
        self.name, self.prefix, self.uris = server["name"], server["prefix"], server["uris"]

    def call(self, tool, **arguments):
        name = ["--tool-name", f"{self.prefix}{tool}", "--tool-args-json", json.dumps(arguments)]
        return self.ask("--method", "tools/call", *name)

    def read(self, uri):
        return self.ask("--method", "resources/read", "--uri", f"{self.uris}{uri}")["contents"][0]["text"]

    def tools(self):
        names = [tool["name"] for tool in self.inspector.list("tools/list", "tools")]
        assert f"{self.prefix}echo" in names, names[:5]
        self.added = self.call("add", a=1, b=2)
        assert "3" in self.added["content"][0]["text"], self.added

    def structured(self):
        assert self.added["structuredContent"] == {"sum": 3}, self.added

    def errors(self):
        answer = self.call("fail")
        assert answer["isError"] and "broken on purpose" in answer["content"][0]["text"], answer

    def prompts(self):
        names = [prompt["name"] for prompt in self.inspector.list("prompts/list", "prompts")]
        assert f"{self.prefix}greet" in names, names
        arguments = ["--prompt-name", f"{self.prefix}greet", "--prompt-args", "name=Bo"]
        answer = self.ask("--method", "prompts/get", *arguments)
        assert answer["messages"][0]["content"]["text"] == f"{self.name} greets Bo", answer

    def resources(self):
        uris = [resource["uri"] for resource in self.inspector.list("resources/list", "resources")]
        assert f"{self.uris}test://x" in uris, uris
        assert self.read("test://x") == f"the x of {self.name}"

    def templates(self):
        listed = self.inspector.list("resources/templates/list", "resourceTemplates")
        templates = [template["uriTemplate"] for template in listed]
        assert f"{self.uris}test://item/{{number}}" in templates, templates
        assert self.read("test://item/7") == f"item 7 of {self.name}"


def say(**line):
    print(json.dumps(line), flush=True)


ask = json.loads(sys.argv[1])
for target in ask["targets"]:
    inspector = Inspector(target, ask["mode"])
    names = [server["name"] for server in target["servers"]]
    try:
        inspector.list("tools/list", "tools")
    except (RuntimeError, subprocess.TimeoutExpired, KeyError) as error:
        say(servers=names, error=f"{error}"[:400])
        continue
    say(servers=names, protocol={"legacy": "2025-11-25"}.get(ask["mode"]))
    for server in target["servers"]:
        checks = Checks(inspector, server)
        for check in CHECKS:
            try:
                getattr(checks, check)()
                say(server=server["name"], check=check, outcome="yes")
            except Exception as error:  # whatever it says is the detail
                say(server=server["name"], check=check, outcome="no", detail=f"{type(error).__name__}: {error}"[:400])
