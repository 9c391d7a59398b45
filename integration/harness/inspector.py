"""The MCP Inspector's command line as a client: one process a question."""

import json
import os
import subprocess

from . import peers


class Inspector:
    def __init__(self, report, home):
        home.mkdir(parents=True, exist_ok=True)
        self.report, self.home = report, home

    def ask(self, target, *arguments, seconds=90):
        command = [*peers.module("inspector", "clients/launcher/build/index.js"), "--cli", *target, *arguments]
        self.report.note("$ inspector " + " ".join(command[2:]))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=os.environ | {"HOME": str(self.home)}
        )
        self.report.note(f"-> {done.returncode} {done.stdout[:2000]} {done.stderr[-1000:]}")
        assert done.returncode == 0, f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"
        return done.stdout

    def json(self, target, *arguments):
        answer = json.loads(self.ask(target, *arguments, "--format", "json", "-q"))
        return answer.get("result", answer)

    def run(self, label, target, prefix="everything__", math=True):
        """`target`: a URL, or the flags and the command of a stdio server."""
        check = lambda what, perform: self.report.check(f"{label} {what}", perform)
        prompt, uri = f"{prefix}args-prompt", "demo://resource/static/document/architecture.md"
        uri = f"hangar://everything/{uri}" if prefix else uri

        def tools():
            names = [tool["name"] for tool in self.json(target, "--method", "tools/list")["tools"]]
            assert f"{prefix}echo" in names and (not math or "math__add" in names), names
            return f"{len(names)} tools"

        def call(name, text, *pairs):
            arguments = [item for pair in pairs for item in ("--tool-arg", pair)]
            answer = self.json(target, "--method", "tools/call", "--tool-name", name, *arguments)
            assert answer["content"][0]["text"] == text, answer
            return text

        def get():
            answer = self.json(target, "--method", "prompts/get", "--prompt-name", prompt, "--prompt-args", "city=Oslo")
            assert "Oslo" in answer["messages"][0]["content"]["text"], answer

        def read():
            answer = self.json(target, "--method", "resources/read", "--uri", uri)
            assert "Architecture" in answer["contents"][0]["text"], str(answer)[:300]

        check("lists tools", tools)
        check("calls everything", lambda: call(f"{prefix}echo", "Echo: hi", "message=hi"))
        if math:
            check("calls math", lambda: call("math__add", "5", "a=2", "b=3"))
        check("gets a prompt", get)
        check("reads a resource", read)

    def load(self, label, target, tool, *pairs):
        def perform():
            arguments = [item for pair in pairs for item in ("--tool-arg", pair)]
            flags = ["--load", "--load-concurrency", "16", "--load-requests", "400", "--format", "json", "-q"]
            answer = json.loads(self.ask(target, "--method", "tools/call", "--tool-name", tool, *arguments, *flags))
            answer = answer.get("result", answer)
            self.report.note(json.dumps(answer))
            assert answer["errors"] == 0 and answer["requests"] == 400, json.dumps(answer)[:400]
            return json.dumps(answer)[:160]

        self.report.check(f"{label} 400 calls, 16 at a time", perform)
