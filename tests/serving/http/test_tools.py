"""The tools of the Model Context Protocol, by the official client: what the run answers, and what is refused."""

from __future__ import annotations

import asyncio
import json

import pytest

mcp = pytest.importorskip("mcp", reason="the extra mcp is not installed")
from recgnn import load  # noqa: E402
from recgnn.serving.http.current import Current  # noqa: E402
from recgnn.serving.http.tools import build_tools  # noqa: E402


def test_tools(tiny_run) -> None:
    trained = load(tiny_run)

    async def talk() -> tuple:
        async with mcp.Client(build_tools(Current(tiny_run))) as client:
            listed = await client.list_tools()
            calls = [("recommend", {"users": [5], "k": 3}), ("explain", {"user": 5, "items": 3, "parts": 1})]
            calls += [("recommend", {"users": [5], "kk": 3}), ("similar", {"items": [999]}), ("recomend", {})]
            return listed.tools, [await client.call_tool(name, question) for name, question in calls]

    tools, (recommended, explained, *refused) = asyncio.run(talk())
    assert [tool.name for tool in tools] == ["recommend", "similar", "predict", "explain", "history"]
    assert all(tool.description and tool.input_schema["properties"] for tool in tools)
    items = json.loads(recommended.content[0].text)["lists"][0]["items"]
    assert [row["item"] for row in items] == trained.recommend(5, k=3)["item"].tolist()
    assert json.loads(explained.content[0].text)["items"][0]["parts"][0]["of"] == trained.explain(5, 3)["of"][0]
    assert not recommended.is_error and all(answer.is_error for answer in refused)
    lines = [answer.content[0].text for answer in refused]
    assert lines[0].startswith("the question: no 'kk' here (did you mean 'k'?)")
    assert lines[1].startswith("unknown item 999: 40 items are known")
    assert lines[2].startswith("no tool recomend (did you mean 'recommend'?)")
