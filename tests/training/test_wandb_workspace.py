"""The W&B workspace: what it shows, that it needs no network, and what W&B is sent when it is saved."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from recgnn import dashboard
from recgnn.errors import ConfigError, RunError
from recgnn.training import wandb_keys as logged

wandb = pytest.importorskip("wandb")
pytest.importorskip("wandb_workspaces", reason="dashboards are an extra")
DOCS = Path(__file__).parents[2] / "docs" / "wandb.md"


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch) -> None:
    """No account, an empty working folder, and no network from this process."""

    def connect(*args):
        raise AssertionError("a connection")

    wandb.teardown()  # it remembers the settings that it has read first
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.chdir(tmp_path)


def specification(*options: str) -> dict:
    dashboard.main([*options, "--output", "workspace.json"])
    return json.loads(Path("workspace.json").read_text())


def panels(spec: dict) -> Iterator[tuple[str, dict]]:
    """(section, panel) of a specification."""
    for section in spec["spec"]["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            yield section["name"], panel


def references(panel: dict) -> list[tuple[str, str | None]]:
    """What a panel shows: (key, kind, or None where a curve or a value of the summary will do)."""
    config, kind = panel["config"], panel["viewType"]
    if kind == "Run History Line Plot":
        return [(name, "curve") for name in [config["xAxis"], *config["metrics"]]]
    if kind == "Bar Chart":
        return [(name, None) for name in config["metrics"]]
    if kind == "Media Browser":
        return [(name, "figure") for name in config["mediaKeys"]]
    if kind == "Weave":
        return [(config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"], "table")]
    if kind == "Scatter Plot":
        return [column(config[axis]) for axis in ("xAxis", "yAxis")]
    assert kind == "Run Comparer", f"{kind}: not known to this test"
    return []


def column(name: str) -> tuple[str, str | None]:
    """A column of the table of runs, as config:parameters.value or summary:test/auc."""
    section, _, key = name.partition(":")
    return (re.sub(r"\.value(\..*)?$", "", key), "config") if section == "config" else (key, None)


@pytest.mark.parametrize("options", [[], ["--ks=5,50", "--fields=age,daytime"]])
def test_every_panel_shows_documented_keys(options):
    spec = specification(*options)
    shown = [reference for _, panel in panels(spec) for reference in references(panel)]
    runset = spec["spec"]["section"]["runSets"][0]
    shown += [column(name) for name in runset["runFeed"]["columnOrder"] if not name.startswith("run:")]
    shown += [column(f"{group['section']}:{group['name']}") for group in runset["grouping"]]
    assert len(shown) > 60
    for name, kind in shown:
        assert logged.documented(name, kind), f"{name} ({kind}) is shown and is not documented"


def test_every_documented_key_has_a_panel():
    spec = specification("--fields=age")
    shown = {name for _, panel in panels(spec) for name, _ in references(panel)}
    for key in logged.KEYS:
        if key.kind in ("curve", "figure", "table") and key.name != "lr/<n>":
            assert any(key.matches(name) for name in shown), f"{key.name} has no panel"


def test_sections_and_grouping():
    spec = specification()
    families = ("ranking", "ratings and numbers", "clicks")
    expected = ["Training", *(f"{p}: {f}" for p in ("Validation", "Test") for f in families)]
    assert list(dict.fromkeys(name for name, _ in panels(spec))) == [*expected, "Figures", "Tables", "Data and cost"]
    for section, panel in panels(spec):
        part, _, family = section.partition(": ")
        if family:
            assert panel["viewType"] == {"Validation": "Run History Line Plot", "Test": "Bar Chart"}[part]
            assert panel["config"]["metrics"][0].startswith({"Validation": "val/", "Test": "test/"}[part])
            assert panel["config"]["groupAgg"] == "mean"
    [runset] = spec["spec"]["section"]["runSets"]
    assert [(g["section"], g["name"]) for g in runset["grouping"]] == [
        ("config", "model_name.value"), ("config", "data_name.value"),
    ]  # fmt: skip
    assert {panel["config"]["metrics"][0] for section, panel in panels(spec) if section == "Test: clicks"} == {
        f"test/{name}" for name in ("auc", "logloss", "ne", "gauc", "ece", "calibration")
    }


def test_list_lengths_and_fields_are_chosen():
    spec = specification("--ks", "50,5", "--fields", "age", "--project", "mine", "--name", "ours")
    shown = [name for _, panel in panels(spec) for name, _ in references(panel)]
    assert "val/recall@5" in shown and "test/ndcg@50" in shown and "val/recall@10" not in shown
    assert "figures/auc_by_age" in shown
    assert (spec["project"], spec["displayName"]) == ("mine", "ours")


def test_the_same_workspace_is_the_same_text(capsys):
    dashboard.main(["--print"])
    printed = capsys.readouterr().out
    dashboard.main(["--print", "--output", "workspace.json"])
    assert capsys.readouterr().out == Path("workspace.json").read_text() == printed
    names = [panel["__id__"] for _, panel in panels(json.loads(printed))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name it with --entity, or write it without one"),
        (["--entity", "me"], "needs a W&B account, and no API key"),
        (["--print", "--ks", "ten"], "--ks ten: expected list lengths, as 10,20"),
        (["--print", "--ks", "0"], "--ks 0: expected list lengths"),
        (["--output", "workspace.yaml"], "expected a name that ends in .json"),
        (["--prin"], "unknown option --prin"),
    ],
)
def test_mistakes_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        dashboard.main(options)
    assert "\n" not in str(caught.value) and not list(Path().iterdir())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ConfigError, match=r'pip install "recgnn\[dashboard\]"'):
        dashboard.main(["--print"])


def test_the_documentation_has_the_table_of_keys(capsys):
    dashboard.main(["--keys"])
    table = capsys.readouterr().out
    assert table in DOCS.read_text(encoding="utf-8"), "python -m recgnn.dashboard --keys has changed: paste it"
    for key in logged.KEYS:
        assert f"`{key.name}`" in table


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("val/recall@20", "val/recall@<k>"),
        ("figures/auc_by_hour_of_day", "figures/auc_by_<field>"),
        ("lr/1", "lr/<n>"),
        ("lr", "lr"),
        ("val/recall@", None),
        ("val/recall@20x", None),
        ("recall@20", None),
        ("figures/auc_by_", None),
    ],
)
def test_names_are_matched_as_a_whole(name, key):
    found = logged.documented(name)
    assert (found and found.name) == key


class Server(BaseHTTPRequestHandler):
    """As much of W&B as saving a workspace needs; keeps what it is sent."""

    sent: list[dict] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        data = {"viewer": {"id": "1", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}}}
        if b"upsertView" in body:
            self.sent.append(json.loads(body)["variables"])
            data = {"upsertView": {"view": {"id": "1", "name": self.sent[-1]["name"]}, "inserted": True}}
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args) -> None:
        pass


def test_saving_sends_what_is_printed(monkeypatch, capsys):
    monkeypatch.undo()  # the network of this machine is needed, an account is not
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    wandb.teardown()
    dashboard.main(["--entity", "me", "--ks", "5"])
    wandb.teardown()
    server.shutdown()
    assert capsys.readouterr().out.startswith(f"{address}/me/recgnn?nw=")
    [sent] = Server.sent
    dashboard.main(["--print", "--ks", "5"])
    assert json.loads(sent["spec"]) == json.loads(capsys.readouterr().out)["spec"]
    assert (sent["entityName"], sent["projectName"], sent["displayName"]) == ("me", "recgnn", "recgnn")


def test_what_w_and_b_refuses_is_one_line(monkeypatch):
    def refuse(view):
        raise wandb.errors.CommError("no project\nhere")

    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", refuse)
    with pytest.raises(RunError, match="^W&B did not take the workspace: no project here$"):
        dashboard.main(["--entity", "me"])
