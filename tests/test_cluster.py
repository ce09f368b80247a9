"""The scripts for clusters, and the commands of the manual's page: they parse, and what they call is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from recgnn.cli.command_line import CommandLine
from recgnn.cli.entry import COMMANDS
from recgnn.cli.messages import check_names
from recgnn.files import configuration

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/cluster"
PAGE = (ROOT / "docs/howto/beyond_one_machine.md").read_text("utf-8")


def scripts() -> dict[str, str]:
    """Every script of shell, by the name of its file."""
    found = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.sh")}
    path = FOLDER / "pytorchjob.yaml"
    for role, pods in yaml.safe_load(path.read_text("utf-8"))["spec"]["pytorchReplicaSpecs"].items():
        (container,) = pods["template"]["spec"]["containers"]
        assert container["command"] == ["bash", "-c"] and pods["restartPolicy"] == "OnFailure"
        found[f"{path.name}, {role}"] = container["args"][0]
    return found | {"the page": "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.S))}


SCRIPTS = scripts()


def calls(script: str) -> list[tuple[str, list[str]]]:
    """The commands of recgnn in a script, with their options."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        match = re.search(r"-m recgnn\.(\w+)(.*?)(?:  #|$)", line)
        if match:
            words = [word for word in shlex.split(match[2]) if not word.startswith("${go_on")]
            found.append((match[1], words))
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_and_their_options_exist(name: str) -> None:
    subprocess.run(["bash", "-n"], input=SCRIPTS[name], text=True, check=True)
    assert calls(SCRIPTS[name])
    for command, words in calls(SCRIPTS[name]):
        assert command in COMMANDS
        check_names(words)
        if command == "benchmark":
            continue
        named = words[words.index("--config") + 1]
        if not named.startswith("runs/"):
            assert configuration(ROOT / named if "/" in named else named).is_file()
        config = configuration(ROOT / (named if named.startswith("conf/") else "conf/deepfm.yaml"))
        line = CommandLine([word if word != named else str(config) for word in words])
        assert line.model is not None
        asked = [yaml.safe_load(w.partition("=")[2] or words[i + 1]) for i, w in enumerate(words) if "callbacks+" in w]
        assert all({"every_n_train_steps"} == {*callback["init_args"]} for callback in asked)


def test_the_job_of_ray_runs_the_script_on_as_many_gpus_as_it_asks_for() -> None:
    spec = yaml.safe_load((FOLDER / "rayjob.yaml").read_text("utf-8"))["spec"]
    assert spec["entrypoint"] == "bash /shared/ray.sh" and "--on ray" in SCRIPTS["ray.sh"]
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = group["replicas"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == 4 and "--trainer.num_nodes 4 --trainer.devices 1" in SCRIPTS["ray.sh"]
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text("utf-8").split()


def test_the_page_names_every_script() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*re.findall(r"\.\./cluster/([\w.]+)\)", PAGE)}


def test_all_pods_do_the_same() -> None:
    specs = yaml.safe_load((FOLDER / "pytorchjob.yaml").read_text("utf-8"))["spec"]["pytorchReplicaSpecs"]
    pods = sum(spec["replicas"] for spec in specs.values())
    (nodes,) = {re.search(r"--trainer.num_nodes (\d+)", SCRIPTS[f"pytorchjob.yaml, {role}"])[1] for role in specs}
    assert int(nodes) == pods == 4
