"""The official Python SDK as a client, either line of it (`mcp` 1.x or 2.x), driven by lines of JSON on stdin.

Start: python.py '{"url": "..."}' or '{"command": [...], "env": {...}}'. First line on stdout: who answered. Then each
request line {"op": ..., ...} gets one line: {"value": ...}, or {"error": "..."} when the SDK raised.
"""

import asyncio
import json
import sys

import mcp
from mcp import types

TWO = hasattr(mcp, "Client")
changes = {"tools": 0, "resources": 0, "prompts": 0}


def plain(model):
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


async def on_message(message):
    notification = getattr(message, "root", message)
    method = getattr(notification, "method", "") or ""
    if method.endswith("/list_changed"):
        changes[method.split("/")[1]] += 1


async def listen(client, opened):
    """Revision 2026-07-28 tells changes on a subscription only."""
    wanted = {f"{kind}_list_changed": True for kind in changes}
    async with client.listen(**wanted) as subscription:
        opened.set()
        async for event in subscription:
            kind = type(event).__name__.removesuffix("ListChanged").lower()
            if kind in changes:
                changes[kind] += 1


async def everything(method, key):
    found, cursor = [], None
    while True:
        if TWO:
            page = plain(await method(cursor=cursor, cache_mode="bypass"))
        else:
            page = plain(await method(params=types.PaginatedRequestParams(cursor=cursor)))
        found += page[key]
        cursor = page.get("nextCursor")
        if not cursor:
            return found


async def perform(session, ask):
    op, name, arguments = ask["op"], ask.get("name"), ask.get("arguments", {})
    if op == "tools":
        return await everything(session.list_tools, "tools")
    if op == "resources":
        return await everything(session.list_resources, "resources")
    if op == "templates":
        return await everything(session.list_resource_templates, "resourceTemplates")
    if op == "prompts":
        return await everything(session.list_prompts, "prompts")
    if op == "call":
        progress = []

        async def on_progress(done, total, message):
            progress.append([done, total])

        extra = {"progress_callback": on_progress} if ask.get("progress") else {}
        return {**plain(await session.call_tool(name, arguments, **extra)), "progress": progress}
    if op == "read":
        return plain(await session.read_resource(ask["uri"]))
    if op == "prompt":
        return plain(await session.get_prompt(name, arguments))
    if op == "complete":
        ref = types.PromptReference(type="ref/prompt", name=name)
        return plain(await session.complete(ref, {"name": ask["argument"], "value": ask["value"]}))
    if op == "changes":
        return dict(changes)
    raise ValueError(f"no op {op}")


def say(value):
    print(json.dumps(value), flush=True)


async def converse(session, hello):
    say(hello)
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        try:
            async with asyncio.timeout(60):
                say({"value": await perform(session, json.loads(line))})
        except Exception as error:  # the SDK's own word on it is what the scenario checks
            say({"error": f"{type(error).__name__}: {error}"})


async def main(target):
    stdio = None
    if "command" in target:
        command, *args = target["command"]
        stdio = mcp.StdioServerParameters(command=command, args=args, env=target.get("env"))
    if TWO:
        async with mcp.Client(stdio or target["url"], message_handler=on_message) as client:
            info = client.server_info
            listening, opened = None, asyncio.Event()
            if client.protocol_version == "2026-07-28":
                listening = asyncio.create_task(listen(client, opened))
                await asyncio.wait_for(opened.wait(), 20)
            await converse(client, {"server": info and info.name, "protocol": client.protocol_version})
            if listening:
                listening.cancel()
        return
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with stdio_client(stdio) if stdio else streamable_http_client(target["url"]) as (read, write, *_):
        async with mcp.ClientSession(read, write, message_handler=on_message) as session:
            hello = await session.initialize()
            await converse(session, {"server": hello.serverInfo.name, "protocol": hello.protocolVersion})


asyncio.run(main(json.loads(sys.argv[1])))
