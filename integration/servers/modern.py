"""A server of revision 2026-07-28 (Python `mcp` 2.3): on stdio, or over HTTP on the loopback port that it is given."""

import sys
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
from pydantic import Field

m = MCPServer("modern")


@m.tool()
def echo(text: str) -> str:
    return text


@m.tool()
def region(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    return region


@m.tool()
async def ask(ctx: Context) -> str | InputRequiredResult:
    if ctx.input_responses:
        return repr(ctx.input_responses)
    schema = {"type": "object", "properties": {"name": {"type": "string", "default": "me"}}}
    question = ElicitRequest(params=ElicitRequestFormParams(message="Who?", requested_schema=schema))
    return InputRequiredResult(input_requests={"q": question}, request_state="state")


@m.tool()
async def touch(ctx: Context) -> str:
    await ctx.notify_resource_updated("test://x")
    await ctx.notify_tools_changed()
    return "ok"


@m.tool()
async def log(ctx: Context) -> str:
    await ctx.info("hello log")
    await ctx.report_progress(1, 2)
    return "ok"


@m.resource("test://x")
def x() -> str:
    return "the x"


if len(sys.argv) > 1:
    m.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    m.run("stdio")
