"""What the README and the manual promise, run."""

from __future__ import annotations

import asyncio
import re
import shlex
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import pytest
import uvicorn
import yaml

from recgnn import load
from recgnn.cli.entry import COMMANDS, main, main_of
from recgnn.comparison import suites
from recgnn.comparison.suites import read_suite
from recgnn.data import SyntheticLog

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = [f"howto/{name}.md" for name in ("train", "use", "one_system", "compare", "machines")]  # in this order
TEXT = "\n".join([README, *((ROOT / "docs" / name).read_text(encoding="utf-8") for name in MANUAL)])
START = (ROOT / "docs/start.md").read_text(encoding="utf-8")
CALL = re.compile(r"(?:python -m recgnn\.|recgnn )(\w+)(.*)")
SMALL = ["--data.source=SyntheticLog", "--data.source.num_users=61", "--data.source.num_items=40"]
LOG = """\
data: {init_args: {source: {class_path: SyntheticLog, init_args: {num_users: 200, num_items: 190}}}}
trainer: {accelerator: cpu, enable_progress_bar: false}
"""
EVENTS = """\
data: {init_args: {source: {class_path: EventTable, init_args: {path: rows.csv}}}}
trainer: {accelerator: cpu, enable_progress_bar: false}
"""


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def lines(text: str = TEXT) -> list[str]:
    """Every command of the README and the manual, once, without its comment."""
    found = [line.partition("  #")[0].strip() for block in blocks("bash", text) for line in block.splitlines()]
    return list(dict.fromkeys(line for line in found if line))


@pytest.fixture
def clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CSV with ids of letters, no ratings, no timestamps; two tastes, so that there is something to learn."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = [
        (f"customer-{u:02d}", f"sku/{2 * int(i) + u % 2}")
        for u in range(40)
        for i in random.choice(15, 10, replace=False)
    ]
    pd.DataFrame(rows, columns=["customer", "product"]).to_csv("clicks.csv", index=False)
    return tmp_path


def test_own_data_in_twelve_lines(clicks: Path) -> None:
    (text,) = [b for b in blocks("yaml", README) if "clicks.csv" in b]
    assert len(text.strip().splitlines()) <= 12
    Path("clicks.yaml").write_text(text)
    fit, recommend = [line for line in lines(README) if "runs/clicks" in line]
    words = shlex.split(fit)
    assert words[:3] == ["python", "-m", "recgnn.fit"]
    cli = main("fit", [*words[3:], "--trainer.max_epochs=5", "--trainer.logger=false"])
    assert cli.datamodule.num_users == 40 and cli.datamodule.num_items == 30
    words = shlex.split(recommend)
    assert words[:3] == ["python", "-m", "recgnn.recommend"]
    main_of("recommend")(words[3:])
    found = pd.read_csv("recommendations.csv")
    assert found["user"].nunique() == 40 and found["item"].str.startswith("sku/").all()
    known = set(map(tuple, pd.read_csv("clicks.csv").to_numpy()))
    assert not known & set(zip(found["user"], found["item"], strict=True))


def test_the_start_of_the_manual(clicks: Path, entry) -> None:
    (text,) = blocks("yaml", START)
    Path("clicks.yaml").write_text(text)
    for line in lines(START):
        command, *words = shlex.split(line)[2:]
        short = ["--trainer.max_epochs=2", "--trainer.logger=false"] if command == "recgnn.fit" else []
        code, _, error = entry(command.removeprefix("recgnn."), *words, *short)
        assert code == 0, f"{line}\n{error}"
    assert Path("compare/compare.html").is_file()
    (code,) = blocks("python", START)
    exec(code, {})


def test_a_table_of_clicks(here: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/howto/clicks.md").read_text("utf-8"), re.S)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"site": random.choice(list("abcd"), 500), "price": random.random(500)})
    frame.assign(clicked=(random.random(500) < 0.3).astype(int)).to_parquet("impressions.parquet")
    Path("clicks.yaml").write_text(text)
    cli = main("fit", ["--config", "clicks.yaml", "--trainer.max_epochs=1", "--trainer.logger=false"])
    assert cli.datamodule.field_names == ["site", "price", "price.bins"]
    assert 0 < load(cli.run_dir).predict(frame)["prediction"].mean() < 1


def prepared(words: list[str]) -> list[str]:
    """A command's options with data of a moment, a short training and no logger."""
    command, options = words[0], words[1:]
    short = ["--trainer.max_epochs=2", "--trainer.logger=false"]
    if command == "fit":
        config = options[options.index("--config") + 1]
        ctr = yaml.safe_load(Path(config).read_text())["data"]["class_path"].endswith("CTRDataModule")
        place = options.index("--config") + 2
        return [*options[:place], "--config", "events.yaml" if ctr else "log.yaml", *options[place:], *short]
    if command == "benchmark":
        return [*options, "--seeds", "1", "--", *SMALL, "--trainer.max_epochs=1", short[1]]
    if command == "serve":
        return [*options, "--port", "0"]
    if command == "tune":
        options[options.index("--trials") + 1] = "2"
        return [*options, *SMALL, *short[:1]]
    return options


def answered(server, sockets) -> None:
    """In the place of serving: the manual's question, asked in this process."""
    (line,) = [line for line in lines() if line.startswith("curl")]
    _, _, url, _, header, _, body = shlex.split(line)

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server.config.app)) as client:
            return await client.post(url, content=body, headers=[header.split(": ")])

    (found,) = asyncio.run(asked()).json()["lists"]
    assert found["user"] == 196 and len(found["items"]) == 5


def test_every_command_of_the_readme_runs(here: Path, entry, drawing, monkeypatch) -> None:
    """In the order of the README, on made-up data: a later one uses what an earlier one left behind."""
    for name in ("conf", "recgnn"):
        Path(name).symlink_to(ROOT / name)
    monkeypatch.setattr(uvicorn.Server, "run", answered)
    suite = read_suite("ml-100k")
    monkeypatch.setattr(suites, "read_suite", lambda name: suite._replace(entries=suite.entries[:2], name=name))
    Path("log.yaml").write_text(LOG)
    Path("events.yaml").write_text(EVENTS)
    frame = SyntheticLog(num_users=200, num_items=190).read().interactions
    other = {"age": 30, "gender": "F", "occupation": "writer", "zip": "01234", "release_year": 1995, "genres": "Drama"}
    frame.assign(**other).to_csv("rows.csv", index=False)
    ran = []
    for line in lines():
        call = CALL.fullmatch(line)
        if call is None or "clicks.yaml" in line or "runs/clicks" in line:
            continue  # an installation, torchrun, or what the test above runs
        words = [call[1], *shlex.split(call[2])]
        if "--entity" in words:
            continue  # needs an account; tests/test_dashboard.py sends it to a server of its own
        if "ddp" in words:
            words.append("--print_config")  # tests/test_distributed.py trains so
        with drawing() if words[0] in ("fit", "compare") and words[0] not in ran else nullcontext():
            code, out, error = entry(words[0], *prepared(words))
        assert code == 0, f"{line}\n{error}"
        ran.append(words[0])
        for option in ("--output", "--run_dir"):
            if option in words and "ddp" not in words:
                assert Path(words[words.index(option) + 1]).exists(), line
    assert {"fit", "test", "recommend", "similar", "predict", "export", "compare", "benchmark", "tune"} <= set(ran)
    (code,) = blocks("python")
    exec(code, {})
    run = load("runs/a")
    assert list(run.recommend(users=[196], k=10)) == ["user", "rank", "item", "score", "title"]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_training_section(here, entry) -> None:
    (text,) = blocks("yaml", page("howto/train.md"))
    Path("training.yaml").write_text(text)
    files = "--config", str(ROOT / "conf/mf.yaml"), "--config", "training.yaml"
    code, out, error = entry("fit", *files, "--print_config")
    assert code == 0 and "l2: 0.15" in out, error


def test_the_page_on_wandb(here, entry, monkeypatch) -> None:
    """The artifact comes from a stand-in; sending needs an account: tests/training/test_wandb_workspace.py."""
    fit, _, _, saved = lines(page("wandb.md"))
    call = CALL.fullmatch(fit)
    Path("conf").symlink_to(ROOT / "conf")
    code, out, error = entry(call[1], *shlex.split(call[2]), "--print_config")
    assert code == 0 and "project: mine" in out, error
    call = CALL.fullmatch(saved)
    assert entry(call[1], *shlex.split(call[2]))[0] == 0 and Path("workspace.json").is_file()
    (code,) = blocks("python", page("wandb.md"))
    asked = []
    artifact = SimpleNamespace(download=lambda: "folder")
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(artifact=lambda name: asked.append(name) or artifact))
    monkeypatch.setattr("recgnn.load", lambda folder: SimpleNamespace(recommend=lambda **given: asked.append(given)))
    exec(code, {})
    assert asked == ["recgnn/lightgcn-gowalla-1a2b3c4d:best", {"users": [196], "k": 10}]


def test_no_block_of_the_manual_is_forgotten() -> None:
    """Each page with a block is one that a test runs."""
    run = {*MANUAL, "start.md", "howto/clicks.md", "wandb.md"}
    run |= {"layouts.md", "howto/beyond_one_machine.md"}  # by tests/test_layouts.py and tests/test_cluster.py
    run |= {"howto/own_classes.md"}  # by tests/test_contributing.py
    pages = {str(path.relative_to(ROOT / "docs")): path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")}
    assert {name for name, text in pages.items() if re.search(r"^```\w", text, re.M)} == run
    kinds = {kind for name in run for kind in re.findall(r"^```(\w+)", pages[name], re.M)}
    assert kinds <= {"bash", "yaml", "python", "csv", "text"}, kinds


def test_commands_of_the_readme_exist() -> None:
    commands = [line for line in lines() if "recgnn." in line and "pip install" not in line]
    assert commands
    for line in commands:
        name = re.search(r"recgnn\.(\w+)", line)[1]
        assert name in COMMANDS and (ROOT / "recgnn" / f"{name}.py").is_file()
        for config in re.findall(r"conf/\S+\.yaml", line):
            assert yaml.safe_load((ROOT / config).read_text())


def test_files_of_the_readme_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page}: {target}"


def test_models_of_the_readme_are_all_there_are() -> None:
    import recgnn.models

    table = (ROOT / "docs/models.md").read_text("utf-8").split("measured here")[1]
    named = set(re.findall(r"`(\w+)`", README.split("## Models")[1].split("\n[Models]")[0]))
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == named == set(recgnn.models.__all__)
