"""What every server of the matrix offers, by the official Python SDK, either line of it (`mcp` 1.x or 2.x).

matrix.py NAME         on stdio
matrix.py NAME PORT    streamable HTTP on that loopback port
"""

import sys

import anyio
import mcp
from mcp import types
from pydantic import BaseModel

TWO = hasattr(mcp, "Client")
if TWO:
    from typing import Annotated

    from mcp.server.lowlevel import NotificationOptions
    from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
    from mcp.server.mcpserver.exceptions import ToolError
else:
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.fastmcp.exceptions import ToolError
    from mcp.server.lowlevel import NotificationOptions

NAME, PORT = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
WATCHED, QUESTION, PEOPLE = "test://x", "Who is there?", ["Ada", "Alan"]
cancelled = 0
m = MCPServer(NAME) if TWO else FastMCP(NAME, host="127.0.0.1", port=PORT or 0)


class Person(BaseModel):
    name: str


class Sum(BaseModel):
    sum: int


@m.tool()
def echo(text: str) -> str:
    return f"{NAME}: {text}"


@m.tool()
def add(a: int, b: int) -> Sum:
    return Sum(sum=a + b)


@m.tool()
def fail() -> str:
    raise ToolError("broken on purpose")


@m.tool()
async def steps(ctx: Context) -> str:
    await ctx.report_progress(1, 2)
    await ctx.report_progress(2, 2)
    await anyio.sleep(0.3)  # the TypeScript SDK drops progress that comes in one breath with the result
    return "done"


@m.tool()
async def speak(ctx: Context) -> str:
    await ctx.info(f"log of {NAME}")
    return "done"


@m.tool()
async def wait() -> str:
    global cancelled
    try:
        await anyio.sleep(20)
    except anyio.get_cancelled_exc_class():
        cancelled += 1
        raise
    return "not cancelled"


@m.tool()
def cancels() -> str:
    return str(cancelled)


@m.tool()
async def touch(ctx: Context) -> str:
    if TWO:
        await ctx.notify_resource_updated(WATCHED)
    if not modern(ctx):
        await ctx.session.send_resource_updated(WATCHED)
    return "done"


def grown() -> str:
    return "grown"


@m.tool()
async def grow(ctx: Context) -> str:
    """A tool more, or one less."""
    if "grown" in [tool.name for tool in await m.list_tools()]:
        m.remove_tool("grown")
    else:
        m.add_tool(grown)
    if TWO:
        await ctx.notify_tools_changed()
    if not modern(ctx):
        await ctx.session.send_tool_list_changed()
    return "done"


def modern(ctx):
    return TWO and (ctx.protocol_version or "") >= "2026"


def thought(content):
    return f"{NAME} was told {content.text}"


SAYS = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Think."))
if TWO:

    async def who() -> Elicit[Person]:
        return Elicit(QUESTION, Person)

    async def think_of() -> Sample:
        return Sample([SAYS], max_tokens=10)

    @m.tool()
    async def ask(person: Annotated[Person, Resolve(who)]) -> str:
        return f"{NAME} greets {person.name}"

    @m.tool()
    async def think(said: Annotated[types.CreateMessageResult, Resolve(think_of)]) -> str:
        return thought(said.content)

else:

    @m.tool()
    async def ask(ctx: Context) -> str:
        answer = await ctx.elicit(QUESTION, Person)
        return f"{NAME} greets {answer.data.name}"

    @m.tool()
    async def think(ctx: Context) -> str:
        said = await ctx.session.create_message([SAYS], max_tokens=10, related_request_id=ctx.request_id)
        return thought(said.content)


@m.prompt()
def greet(name: str) -> str:
    return f"{NAME} greets {name}"


@m.completion()
async def complete(ref, argument, context):
    return types.Completion(values=[p for p in PEOPLE if p.startswith(argument.value)])


@m.resource(WATCHED)
def x() -> str:
    return f"the x of {NAME}"


@m.resource("test://item/{number}")
def item(number: str) -> str:
    return f"item {number} of {NAME}"


# Neither line offers these by decorators of its high-level server: the low-level one below it does.
if TWO:
    low = m._lowlevel_server

    async def nothing(_ctx, _params):
        return types.EmptyResult()

    low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, nothing)
    low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, nothing)
    low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, nothing)
else:
    low = m._mcp_server

    @low.set_logging_level()
    @low.subscribe_resource()
    @low.unsubscribe_resource()
    async def nothing(_):
        pass


original = low.create_initialization_options


def options(notification_options=None, experimental_capabilities=None, *args):
    made = original(NotificationOptions(True, True, True), experimental_capabilities or {}, *args)
    made.capabilities.resources.subscribe = True
    return made


low.create_initialization_options = options
if PORT is None:
    m.run("stdio")
elif TWO:
    m.run("streamable-http", host="127.0.0.1", port=PORT)
else:
    m.run("streamable-http")
