"""What the README promises, run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from recgnn import commands, load
from recgnn.cli import main
from recgnn.entry import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


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
    (text,) = [b for b in blocks("yaml") if "clicks.csv" in b]
    assert len(text.strip().splitlines()) <= 12
    Path("clicks.yaml").write_text(text)
    fit, recommend = [b for b in blocks("bash") if "clicks.yaml" in b][0].strip().splitlines()
    words = shlex.split(fit)
    assert words[:3] == ["python", "-m", "recgnn.fit"]
    cli = main("fit", [*words[3:], "--trainer.max_epochs=5", "--trainer.logger=false"])
    assert cli.datamodule.num_users == 40 and cli.datamodule.num_items == 30
    words = shlex.split(recommend)
    assert words[:3] == ["python", "-m", "recgnn.recommend"]
    commands.main("recommend", words[3:])
    found = pd.read_csv("recommendations.csv")
    assert found["user"].nunique() == 40 and found["item"].str.startswith("sku/").all()
    known = set(map(tuple, pd.read_csv("clicks.csv").to_numpy()))
    assert not known & set(zip(found["user"], found["item"], strict=True))
    # the Python of the README, on this run
    run = load("runs/clicks")
    assert len(run.recommend(users=["customer-03"], k=10)) == 10
    assert len(run.similar_items(["sku/3"], k=5)) == 5


def test_commands_of_the_readme_exist() -> None:
    commands = [line for b in blocks("bash") for line in b.splitlines() if "recgnn." in line]
    assert commands
    for line in commands:
        name = re.search(r"recgnn\.(\w+)", line)[1]
        assert name in COMMANDS and (ROOT / "recgnn" / f"{name}.py").is_file()
        for config in re.findall(r"conf/\S+\.yaml", line):
            assert yaml.safe_load((ROOT / config).read_text())["model"]


def test_models_of_the_readme_are_all_there_are() -> None:
    import recgnn.models

    table = README.split("## Models")[1].split("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == set(recgnn.models.__all__)
