"""The configurations that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from recgnn import files
from recgnn.errors import ConfigError
from recgnn.files import configuration, shipped

CONF = Path(__file__).parents[1] / "conf"


def test_every_file_of_conf_has_a_name() -> None:
    found = {**shipped(), **{f"suites/{k}": v for k, v in shipped("suites").items()}}
    found |= {f"sweeps/{name}": path for name, path in shipped("sweeps").items()}
    assert {name: path.resolve() for name, path in found.items()} == {
        str(path.relative_to(CONF).with_suffix("")): path.resolve() for path in CONF.rglob("*.yaml")
    }
    assert "ngcf" in found and "recipes/lightgcn_gowalla" in found and "suites/ml-100k" in found


def test_an_installed_package_has_them_within(tmp_path, monkeypatch) -> None:
    inside = tmp_path / "recgnn/conf"
    (inside / "suites").mkdir(parents=True)
    (inside / "mf.yaml").write_text("model: MF\n")
    (tmp_path / "conf/suites").mkdir(parents=True)  # somebody else's, beside the package
    (tmp_path / "conf/other.yaml").write_text("")
    monkeypatch.setattr(files, "__file__", str(tmp_path / "recgnn/files.py"))
    assert shipped() == {"mf": inside / "mf.yaml"}


def test_a_file_of_ones_own_comes_first(here) -> None:
    Path("ngcf").write_text("model: MF\n")
    assert configuration("ngcf") == Path("ngcf")
    assert configuration("mf").resolve() == CONF / "mf.yaml"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("", "", r"^\.: no such configuration file; `recgnn configs` lists"),
        ("ngfc", "", r"^ngfc: no such configuration file \(did you mean 'ngcf'\?\); `recgnn configs` lists"),
        ("conf/ngcf.yaml", "", "^conf/ngcf.yaml: no such configuration file; one comes with recgnn by the name ngcf;"),
        ("conf/suites/ml-100k.yaml", "suites", "one comes with recgnn by the name ml-100k;"),
        ("ngcf", "suites", "^ngcf: no such"),
    ],
)
def test_no_such_configuration(here, name, kind, message) -> None:
    with pytest.raises(ConfigError, match=message):
        configuration(name, kind)


def test_the_command_lists_and_copies(here, entry) -> None:
    code, out, _ = entry("configs")
    assert code == 0 and max(map(len, out.splitlines())) <= 120
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  ")} >= {*shipped(), "ml-100k-ctr"}
    assert entry("configs", "--copy", "mf", "--output", "own.yaml")[0] == 0
    assert Path("own.yaml").read_bytes() == (CONF / "mf.yaml").read_bytes()
    code, _, error = entry("configs", "--copy", "mf", "--output", "own.yaml")
    assert code == 2 and "own.yaml: is there already" in error
    assert "name a configuration with --copy" in entry("configs", "--output", "x.yaml")[2]


def test_fit_takes_a_name(here, entry) -> None:
    code, out, _ = entry("fit", "--config", "recipes/mf_ml1m", "--print_config")
    assert code == 0 and "class_path: recgnn.models.mf.MF" in out
