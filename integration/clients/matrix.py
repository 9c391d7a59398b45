"""The official Python SDK, either line of it (`mcp` 1.x or 2.x), through the checks of the matrix: each of them against each server.

matrix.py '{"mode": "legacy" | "auto" | "2026-07-28", "targets": [{"url": ... | "command": [...], "env": {...}, "servers": [
  {"name": ..., "prefix": ..., "uris": ..., "patience": SECONDS}]}]}'. Lines of JSON come out: {"servers", "protocol" | "error"} for each target, and
{"server", "check", "outcome": "yes" | "no", "detail"}.
"""

import asyncio
import contextlib
import json
import sys

import anyio
import mcp
from mcp import types

TWO = hasattr(mcp, "Client")
WATCHED = "test://x"


async def elicit(_context, _params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sample(_context, _params):
    return types.CreateMessageResult(role="assistant", model="m", content=types.TextContent(type="text", text="deep"))


class Heard:
    """What came unasked."""

    def __init__(self):
        self.logs, self.updated, self.changed, self.something = [], [], 0, asyncio.Event()

    async def log(self, params):
        self.logs.append(params.data)
        self.something.set()

    async def message(self, message):
        notification = getattr(message, "root", message)
        method = getattr(notification, "method", "") or ""
        if method == "notifications/resources/updated":
            self.updated.append(str(notification.params.uri))
        if method == "notifications/tools/list_changed":
            self.changed += 1
        self.something.set()

    async def listen(self, client, uris, opened):
        """Revision 2026-07-28 tells changes on a subscription only."""
        async with client.listen(tools_list_changed=True, resource_subscriptions=uris) as subscription:
            opened.set()
            async for event in subscription:
                if type(event).__name__ == "ResourceUpdated":
                    self.updated.append(str(event.uri))
                if type(event).__name__ == "ToolsListChanged":
                    self.changed += 1
                self.something.set()

    async def until(self, true, seconds):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not true():
                    self.something.clear()
                    await self.something.wait()
        assert true(), f"nothing for {seconds} s (logs {self.logs[-3:]}, updates {self.updated[-3:]}, changes {self.changed})"


class Checks:
    def __init__(self, session, heard, server, modern):
        self.session, self.heard, self.modern = session, heard, modern
        self.name, self.prefix, self.uris = server["name"], server["prefix"], server["uris"]
        self.patience = server["patience"]  # seconds that something unasked may take

    def uri(self, uri):
        return f"{self.uris}{uri}"

    async def every(self, method, key):
        found, cursor = [], None
        while True:
            if TWO:
                page = await method(cursor=cursor, cache_mode="bypass")
            else:
                page = await method(params=types.PaginatedRequestParams(cursor=cursor))
            page = page.model_dump(by_alias=True, exclude_none=True, mode="json")
            found += page[key]
            cursor = page.get("nextCursor")
            if not cursor:
                return found

    async def call(self, tool, arguments=None, **more):
        return await self.session.call_tool(f"{self.prefix}{tool}", arguments or {}, **more)

    async def says(self, wanted, tool, arguments=None, **more):
        answer = await self.call(tool, arguments, **more)
        text = answer.content[0].text if answer.content else None
        assert text == wanted, f"{tool} says {text!r}, not {wanted!r}"

    async def tools(self):
        names = {tool["name"] for tool in await self.every(self.session.list_tools, "tools")}
        assert f"{self.prefix}echo" in names, f"no echo in {sorted(names)[:5]}"
        await self.says(f"{self.name}: hi", "echo", {"text": "hi"})

    async def structured(self):
        tools = await self.every(self.session.list_tools, "tools")
        listed = [tool for tool in tools if tool["name"] == f"{self.prefix}add"]
        assert listed and "sum" in listed[0]["outputSchema"]["properties"], listed
        answer = await self.call("add", {"a": 1, "b": 2})
        structured = answer.structured_content if TWO else answer.structuredContent
        assert structured == {"sum": 3}, structured

    async def errors(self):
        answer = await self.call("fail")
        failed = answer.is_error if TWO else answer.isError
        assert failed and "broken on purpose" in answer.content[0].text, answer
        with contextlib.suppress(mcp.MCPError if TWO else mcp.McpError):
            answer = await self.call("nothing_of_this_name")
            assert answer.is_error if TWO else answer.isError, answer
        try:
            answer = await self.read("test://nowhere")
        except (mcp.MCPError if TWO else mcp.McpError):
            return
        raise AssertionError(f"a resource that is not there: {answer}")

    async def progress(self):
        seen = []

        async def on_progress(done, total, _message):
            seen.append((done, total))
            self.heard.something.set()

        await self.says("done", "steps", progress_callback=on_progress)
        await self.heard.until(lambda: len(seen) >= 2, self.patience)
        assert seen == [(1, 2), (2, 2)], seen

    async def logging(self):
        if not self.modern:
            await self.session.set_logging_level("info")
        await self.says("done", "speak")
        await self.heard.until(lambda: f"log of {self.name}" in self.heard.logs, self.patience)

    async def elicitation(self):
        await self.says(f"{self.name} greets Ada", "ask")

    async def sampling(self):
        await self.says(f"{self.name} was told deep", "think")

    async def prompts(self):
        prompts = await self.every(self.session.list_prompts, "prompts")
        assert f"{self.prefix}greet" in [prompt["name"] for prompt in prompts], prompts
        answer = await self.session.get_prompt(f"{self.prefix}greet", {"name": "Bo"})
        assert answer.messages[0].content.text == f"{self.name} greets Bo", answer

    async def completion(self):
        ref = types.PromptReference(type="ref/prompt", name=f"{self.prefix}greet")
        answer = await self.session.complete(ref, {"name": "name", "value": "A"})
        assert answer.completion.values == ["Ada", "Alan"], answer

    async def read(self, uri):
        answer = await self.session.read_resource(self.uri(uri))
        return answer.contents[0].text

    async def resources(self):
        resources = await self.every(self.session.list_resources, "resources")
        assert self.uri(WATCHED) in [str(resource["uri"]) for resource in resources], resources
        text = await self.read(WATCHED)
        assert text == f"the x of {self.name}", text

    async def templates(self):
        templates = await self.every(self.session.list_resource_templates, "resourceTemplates")
        assert self.uri("test://item/{number}") in [template["uriTemplate"] for template in templates], templates
        text = await self.read("test://item/7")
        assert text == f"item 7 of {self.name}", text

    async def subscribe(self):
        uri = self.uri(WATCHED)
        if not self.modern:
            await self.session.subscribe_resource(uri)
        self.heard.updated.clear()
        await self.says("done", "touch")
        await self.heard.until(lambda: uri in self.heard.updated, self.patience)
        if not self.modern:
            await self.session.unsubscribe_resource(uri)

    async def list_changed(self):
        told = self.heard.changed
        await self.says("done", "grow")
        await self.heard.until(lambda: self.heard.changed > told, self.patience)

    async def cancel(self):
        before = int((await self.call("cancels")).content[0].text)
        if TWO:
            with anyio.move_on_after(0.3):
                await self.call("wait")
        else:  # 1.x sends no cancellation of its own
            number = self.session._request_id
            waiting = asyncio.create_task(self.call("wait"))
            await asyncio.sleep(0.3)
            params = types.CancelledNotificationParams(requestId=number, reason="enough")
            await self.session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
            await asyncio.sleep(0.1)
            waiting.cancel()
        for _ in range(30):
            if int((await self.call("cancels")).content[0].text) > before:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the server saw no cancellation within 3 s")


CHECKS = [
    "tools", "structured", "errors", "progress", "logging", "elicitation", "sampling", "prompts", "completion", "resources",
    "templates", "subscribe", "list_changed", "cancel",
]


def say(**line):
    print(json.dumps(line), flush=True)


def words(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:400]


async def converse(session, heard, target, protocol):
    say(servers=[server["name"] for server in target["servers"]], protocol=protocol)
    modern = protocol >= "2026"
    with contextlib.suppress(Exception):  # everything behind a gateway starts at the first listing
        async with asyncio.timeout(90):
            await session.list_tools()
    await settle(heard)
    for server in target["servers"]:
        checks = Checks(session, heard, server, modern)
        for check in CHECKS:
            try:
                async with asyncio.timeout(30):
                    await getattr(checks, check)()
                say(server=server["name"], check=check, outcome="yes")
            except Exception as error:  # whatever the SDK says is the detail
                say(server=server["name"], check=check, outcome="no", detail=words(error))


async def settle(heard):
    """Servers that have just been started may say on their own that their lists have changed."""
    for _ in range(20):
        told = heard.changed
        await asyncio.sleep(0.3)
        if heard.changed == told:
            break


async def connect(target, mode):
    heard, stdio = Heard(), None
    if "command" in target:
        command, *args = target["command"]
        stdio = mcp.StdioServerParameters(command=command, args=args, env=target.get("env"))
    hooks = {
        "elicitation_callback": elicit, "sampling_callback": sample, "logging_callback": heard.log,
        "message_handler": heard.message,
    }
    if TWO:
        async with mcp.Client(stdio or target["url"], mode=mode, log_level="info", **hooks) as client:
            listening = None
            if client.protocol_version >= "2026":
                opened, uris = asyncio.Event(), [server["uris"] + WATCHED for server in target["servers"]]
                listening = asyncio.create_task(heard.listen(client, uris, opened))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(opened.wait(), 20)
            await converse(client, heard, target, client.protocol_version)
            if listening:
                listening.cancel()
        return
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with stdio_client(stdio) if stdio else streamable_http_client(target["url"]) as (read, write, *_):
        async with mcp.ClientSession(read, write, **hooks) as session:
            hello = await session.initialize()
            await converse(session, heard, target, hello.protocolVersion)


async def main(ask):
    for target in ask["targets"]:
        try:
            async with asyncio.timeout(240):
                await connect(target, ask["mode"])
        except Exception as error:
            say(servers=[server["name"] for server in target["servers"]], error=words(error))


asyncio.run(main(json.loads(sys.argv[1])))
