"""The same questions as tools of the Model Context Protocol, for assistants: on standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool
from pydantic import ValidationError

from recgnn import __version__
from recgnn.errors import RecGNNError, did_you_mean, printable
from recgnn.serving.http.bodies import QUESTIONS, one_line
from recgnn.serving.http.current import Current

ABOUT = "Recommendations of a trained run: {run}. Ids of users and items are those of its data."


def build_tools(current: Current) -> Server:
    """Make the server whose tools answer from a run; what is refused is one line."""
    tools = [Tool(name=name, description=kind.__doc__, input_schema=kind.model_json_schema())
             for name, kind in QUESTIONS.items()]  # fmt: skip

    async def listed(context: Any, parameters: Any) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def called(context: Any, parameters: Any) -> CallToolResult:
        name = parameters.name
        if name not in QUESTIONS:
            return _result(f"no tool {name}{did_you_mean(name, QUESTIONS)}; there are: {', '.join(QUESTIONS)}", True)
        try:
            question = QUESTIONS[name].model_validate(parameters.arguments or {})
            return _result(json.dumps(await current.answer(question), ensure_ascii=False))
        except ValidationError as error:
            return _result(one_line(error.errors()), True)
        except RecGNNError as error:
            return _result(str(error), True)

    about = ABOUT.format(run=current.loaded.run)
    return Server("recgnn", version=__version__, instructions=about, on_list_tools=listed, on_call_tool=called)


def _result(text: str, wrong: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=printable(text))], is_error=wrong)


def serve_tools(run: Path, trust: bool, watch: float, index: bool) -> None:
    """Answer on standard input and output until that is closed.

    Raises:
        RunError: if the run cannot be loaded.
    """

    async def served() -> None:
        current = Current(run, trust, index)
        server = build_tools(current)
        task = asyncio.create_task(current.watch(watch, lambda line: print(line, file=sys.stderr))) if watch else None
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
        if task is not None:
            task.cancel()

    asyncio.run(served())
