"""What every client does through the gateway, over every transport. Written once; the clients are real and differ.

`direct` runs the part of it that concerns server-everything against that server itself, with nothing between: what
fails there too is not the gateway's fault."""

import json
import os
import signal
import time

from . import processes
from .client import ClientError

EXTRA = "extra"
IMAGE = "iVBORw0KGgo"  # how every PNG begins, in base64


def until(seconds, perform):
    """`perform` until it gives something true, which is returned, or the time is over and its last answer is."""
    deadline = time.monotonic() + seconds
    while not (answer := perform()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


class Scenario:
    def __init__(self, report, client, label, config=None, trigger=None, gateway_pid=None, gateway=None):
        self.report, self.client, self.label = report, client, label
        self.config, self.trigger, self.pid, self.gateway = config, trigger, gateway_pid, gateway
        self.direct = config is None
        self.providers = {"everything"} if self.direct else set(config.providers)

    def tool(self, provider, name):
        return name if self.direct else f"{provider}__{name}"

    def uri(self, provider, uri):
        return uri if self.direct else f"hangar://{provider}/{uri}"

    def check(self, provider, what, perform):
        """Runs a check when its provider is part of this run: `direct` has one, a machine without Node has few."""
        if provider is None or provider in self.providers:
            return self.report.check(f"{self.label} {what}", perform)

    def call(self, provider, name, /, progress=False, **arguments):
        return self.client.ask("call", name=self.tool(provider, name), arguments=arguments, progress=progress)

    def says(self, text, provider, name, /, **arguments):
        def perform():
            answer = self.call(provider, name, **arguments)
            said = "\n".join(block.get("text", "") for block in answer["content"])
            assert text in said and not answer.get("isError"), f"{text!r} is not in {json.dumps(answer)[:300]}"
            return text

        return perform

    def refuses(self, text, provider, name, /, **arguments):
        """An error in either shape: a JSON-RPC one, or a result that is one."""

        def perform():
            try:
                answer = self.call(provider, name, **arguments)
            except ClientError as error:
                said = str(error)
            else:
                said = json.dumps(answer, ensure_ascii=False)
                assert answer.get("isError"), f"no error: {said[:300]}"
            assert text.lower() in said.lower(), f"{text!r} is not in {said[:300]}"
            return f"…{text}…"

        return perform

    def run(self):
        hello = self.client.hello
        told = f"{hello.get('server')}, protocol {hello.get('protocol') or 'not told'}"
        self.report.ok(f"{self.label} connects", told)
        self.check(None, "lists the tools of every provider", self.lists_tools)
        self.tools()
        self.resources_and_prompts()
        self.errors()
        if not self.direct:
            try:
                self.reloads()
            finally:  # the next client of the same gateway begins where this one did
                self.config.write()
                self.pull()

    # === listing and calling ===

    def names(self, op="tools", key="name"):
        return [item[key] for item in self.client.ask(op)]

    def lists_tools(self):
        wanted = {
            "math": "add", "everything": "echo", "files": "read_text_file", "memory": "read_graph", "remote": "echo",
            "time": "convert_time", "git": "git_log", "time2": "convert_time",
        }
        wanted = {self.tool(provider, wanted[provider]) for provider in self.providers}
        if not self.direct:
            wanted |= {"hangar_list", "hangar_call", "hangar_reload_config"}
        # A provider that is slow to start for the first time may join the list later; none may stay away.
        until(30, lambda: wanted <= set(self.names()))
        names = self.names()
        assert not wanted - set(names), f"missing: {sorted(wanted - set(names))} of {len(names)}"
        assert len(names) == len(set(names)), "a name appears twice"
        return f"{len(names)} tools of {len(self.providers)} providers"

    def tools(self):
        says, check = self.says, self.check
        check("math", "calls math (demo-server)", says("42", "math", "add", a=19, b=23))
        odd = 'hé ✓ "q" \\'
        check("everything", "calls everything (npm)", says(f"Echo: {odd}", "everything", "echo", message=odd))
        check("remote", "calls remote (npm, streamable HTTP)", says("Echo: far", "remote", "echo", message="far"))
        if not self.direct:
            path, repository = str(self.config.files / "hello.txt"), str(self.config.repository)
            check("files", "calls files (npm)", says("hällo from a real file", "files", "read_text_file", path=path))
            check("git", "calls git (PyPI)", says("a commit to be found", "git", "git_log", repo_path=repository))
            entity = f"seen-by-{self.label}".replace(" ", "-")
            entities = [{"name": entity, "entityType": "client", "observations": ["was here"]}]
            self.check("memory", "writes to memory (npm)", says(entity, "memory", "create_entities", entities=entities))
            check("memory", "reads it back", says(entity, "memory", "read_graph"))
        for provider in ("time", "time2"):
            ask = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
            check(provider, f"calls {provider} (PyPI)", says("21:00:00+09:00", provider, "convert_time", **ask))
        check("everything", "gets structured content", self.structured)
        check("everything", "gets an image", self.image)
        check("everything", "sees progress", lambda: self.progress("everything"))
        check("remote", "sees progress from remote", lambda: self.progress("remote"))

    def structured(self):
        content = self.call("everything", "get-structured-content", location="New York")["structuredContent"]
        assert set(content) == {"temperature", "conditions", "humidity"}, content
        return json.dumps(content)

    def image(self):
        blocks = self.call("everything", "get-tiny-image")["content"]
        image = next(block for block in blocks if block["type"] == "image")
        assert image["mimeType"] == "image/png" and image["data"].startswith(IMAGE), str(image)[:200]
        return f"{len(image['data'])} characters of base64"

    def progress(self, provider):
        answer = self.call(provider, "trigger-long-running-operation", progress=True, duration=1, steps=4)
        seen = [tuple(step) for step in answer["progress"]]
        # The last step and the answer leave the server together; not every SDK delivers that step before the answer.
        assert seen[:3] == [(1, 4), (2, 4), (3, 4)], seen
        return f"{len(seen)} of 4 steps before the answer"

    def resources_and_prompts(self):
        document = self.uri("everything", "demo://resource/static/document/architecture.md")
        template = self.uri("everything", "demo://resource/dynamic/text/{resourceId}")

        def listed(op, key, wanted):
            names = self.names(op, key)
            assert wanted in names, f"{wanted} is not among {names[:8]}"
            return f"{len(names)}"

        def read(uri, text):
            contents = self.client.ask("read", uri=uri)["contents"]
            assert text in contents[0].get("text", ""), json.dumps(contents)[:300]
            return uri

        def prompt():
            said = self.client.ask("prompt", name=self.tool("everything", "args-prompt"), arguments={"city": "Paris"})
            assert "Paris" in said["messages"][0]["content"]["text"], said
            return said["messages"][0]["content"]["text"]

        def complete():
            name = self.tool("everything", "completable-prompt")
            values = self.client.ask("complete", name=name, argument="department", value="E")["completion"]["values"]
            assert values == ["Engineering"], values
            return values[0]

        check = lambda what, perform: self.check("everything", what, perform)
        check("lists resources", lambda: listed("resources", "uri", document))
        check("lists resource templates", lambda: listed("templates", "uriTemplate", template))
        check("reads a resource", lambda: read(document, "Architecture"))
        check("reads a resource by its template", lambda: read(template.replace("{resourceId}", "1"), "Resource 1"))
        check("lists prompts", lambda: listed("prompts", "name", self.tool("everything", "args-prompt")))
        check("gets a prompt", prompt)
        check("completes an argument", complete)

    def errors(self):
        self.check("everything", "an unknown tool is an error", self.refuses("nope", "everything", "nope"))
        self.check("everything", "missing arguments are an error", self.refuses("message", "everything", "echo"))
        self.check("math", "division by zero is an error", self.refuses("by zero", "math", "divide", a=1, b=0))
        outside = self.refuses("denied", "files", "read_text_file", path="/etc/passwd")
        self.check("files", "a path outside is an error", outside)
        self.check("math", "and the next call works", self.says("5", "math", "sqrt", number=25))

    # === reload while connected ===

    def reloads(self):
        command = [*self.config.providers["math"]["command"][:2], "text"]
        extra = {EXTRA: {"command": command}}
        unchanged = self.provider_processes()
        how = f"reload ({self.trigger})"
        self.check(None, f"{how} adds a provider, and the client is told", lambda: self.reload(extra, "added"))
        self.check(None, "its tool is listed", lambda: self.listed(True))
        self.check(None, "its tool answers", self.says("LOUD", EXTRA, "uppercase", text="loud"))
        self.check(None, "a broken file is refused and nothing moves", self.broken)
        self.check(None, f"{how} removes it, and the client is told", lambda: self.reload({}, "removed"))
        self.check(None, "its tool is gone from the list", lambda: self.listed(False))
        self.check(None, "calling it is an error", self.refuses(EXTRA, EXTRA, "uppercase", text="loud"))
        self.check("math", "the others answer as before", self.says("42", "math", "multiply", a=6, b=7))

        def same():
            self.kept(unchanged)
            return f"{len(unchanged)} processes"

        self.check(None, "unchanged providers kept their processes", same)

    def provider_processes(self):
        """One for each provider that is a process of its own here. What those start for a moment does not count."""
        commands = {" ".join(spec["command"]): name for name, spec in self.config.providers.items() if "command" in spec}
        found = {process for process in processes.descendants(self.pid()) if process[2] in commands}
        missing = set(commands.values()) - {commands[process[2]] for process in found}
        assert not missing, f"no process of {sorted(missing)} below {self.pid()}"
        return found

    @staticmethod
    def kept(before):
        gone = before - processes.alive(before)
        assert before and not gone, f"{len(gone)} of {len(before)} are gone: {sorted(gone)[:3]}"

    def reload(self, extra, how):
        told = self.settled()
        self.config.write(extra)
        result = self.pull()
        if result is not None:
            assert result["status"] == "success" and result[f"providers_{how}"] == [EXTRA], json.dumps(result)[:400]
            assert set(result["providers_unchanged"]) == self.providers, result["providers_unchanged"]
        now = until(10, lambda: max(self.client.ask("changes")["tools"] - told, 0))
        assert now, "no notifications/tools/list_changed within 10 s"
        return f"list_changed {now} time{'s' if now > 1 else ''}"

    def settled(self):
        """The count of list_changed once it stands still: upstreams send their own when they start."""
        last = [self.client.ask("changes")["tools"]]
        for _ in range(20):
            time.sleep(0.5)
            last.append(self.client.ask("changes")["tools"])
            if last[-1] == last[-2]:
                break
        return last[-1]

    def pull(self):
        """Sets the reload off; the report, where this way of doing it has one."""
        if self.trigger == "POST":
            return json.loads(self.gateway.request("/api/config/reload", {})[1])
        if self.trigger == "hangar reload":
            return json.loads(self.gateway.command("reload", "--json")[1])
        if self.trigger == "tool":
            return self.client.ask("call", name="hangar_reload_config", arguments={})["structuredContent"]
        if self.trigger == "SIGHUP":
            os.kill(self.pid(), signal.SIGHUP)
        return None

    def listed(self, wanted):
        there = until(15, lambda: (f"{EXTRA}__uppercase" in self.names()) == wanted)
        assert there, f"{EXTRA}__uppercase is {'not ' if wanted else 'still '}listed after 15 s"

    def broken(self):
        before = self.provider_processes()
        self.config.write(broken=True)
        if self.trigger == "POST":
            status, text = self.gateway.request("/api/config/reload", {})
            assert status == 422 and json.loads(text)["status"] == "failed", f"{status} {text[:300]}"
        elif self.trigger == "hangar reload":
            code, out = self.gateway.command("reload")
            assert code == 3 and "math" in out, f"exit {code}: {out[:300]}"
        elif self.trigger == "tool":
            answer = self.client.ask("call", name="hangar_reload_config", arguments={})
            assert answer["isError"] and "line" in json.dumps(answer), json.dumps(answer)[:300]
        else:
            self.pull()
            time.sleep(2.5)  # there is no answer to wait for: as long as a save may take to be applied (CONTRACT 8)
        self.says("LOUD", EXTRA, "uppercase", text="loud")()
        self.kept(before)
