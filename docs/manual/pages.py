"""Pages of the manual that are made from the repository's other files and from the code, so that they cannot lie."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

sys.path.append(str(Path(__file__).parent))
from drawing import svg  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
ELSEWHERE = {  # files of the repository that are pages
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md", "benchmarks/RESULTS.md": "results.md",
}  # fmt: skip
DRAWN = "<!-- drawn from the imports -->"
ROOMS = {
    "load.md": ("Python", ["recgnn.serving.loading", "recgnn.serving.recommender", "recgnn.serving.clicks"]),
    "data.md": (
        "Data",
        [
            *(f"recgnn.data.interactions.{name}" for name in ("module", "sources", "filters", "split", "daily", "log")),
            "recgnn.data.interactions.sampling",
            *(f"recgnn.data.clicks.{name}" for name in ("module", "events", "fields", "negatives")),
        ],
    ),
    "datasets.md": ("Public data", ["recgnn.data.datasets"]),
    "models.md": (
        "Classes of models to extend",
        [f"recgnn.models.{name}" for name in ("base", "embedding", "autoencoder", "history", "ctr")],
    ),
    "training.md": ("Training", ["recgnn.training.recommenders", "recgnn.training.clicks", "recgnn.training.base"]),
    "losses.md": ("Losses", ["recgnn.nn.losses", "recgnn.nn.contrastive"]),
    "metrics.md": (
        "Metrics",
        [f"recgnn.evaluation.metrics.{kind}" for kind in ("base", "ranking", "clicks", "regression")],
    ),
    "layers.md": (
        "Layers",
        [f"recgnn.nn.{name}" for name in ("propagation", "interaction", "sequence", "embedding", "mlp", "optimizers")],
    ),
    "errors.md": ("Errors", ["recgnn.errors"]),
}  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File

    made = {page: (ROOT / file).read_text("utf-8") for file, page in ELSEWHERE.items()}
    made |= {f"models/{name.lower()}.md": page for name, page in models().items()}
    made |= {f"reference/{page}": reference(*of) for page, of in ROOMS.items()}
    made["reference/commands.md"] = commands()
    made["reference/configurations.md"] = configurations()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    for place in config.nav:
        ((title, entry),) = place.items()
        if isinstance(entry, list):  # a folder stands for its pages
            rooms = {room: sorted(page for page in made if page.startswith(room)) for room in ("models/", "reference/")}
            place[title] = [page for one in entry for page in rooms.get(str(one), [one])]
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to the repository's files lead to the pages that they are here; draw the rooms."""
    source = page.file.src_uri
    place = next((ROOT / file for file, made in ELSEWHERE.items() if made == source), ROOT / "docs" / source).parent

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = os.path.relpath(os.path.normpath(place / target), ROOT)
        page_ = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if page_ is None:  # a file of the repository that is no page
            return "" if text.startswith("!") else text[1:-1]
        return f"{text}({os.path.relpath(page_, os.path.dirname(source) or '.')}{anchor})"

    if DRAWN in markdown:
        markdown = markdown.replace(DRAWN, rooms())
    markdown = re.sub(r"(!?\[[^\]]*\])\(([^)#\s]*)(#[^)\s]*)?\)", link, markdown)
    return re.sub(r"```mermaid\n(.*?)```", lambda found: svg(found[1]), markdown, flags=re.S)


def models() -> dict[str, str]:
    """A page for each model: idea, drawing, when to use it, what was measured, its docstring, its configuration."""
    names = importlib.import_module("recgnn.models").__all__
    told = yaml.safe_load((ROOT / "docs/manual/models.yaml").read_text("utf-8"))
    table = (ROOT / "docs/models.md").read_text("utf-8")
    of = {}
    for name in names:
        model = getattr(importlib.import_module("recgnn.models"), name)
        file = Path(sys.modules[model.__module__].__file__ or "").stem
        about = told[name]
        figures = re.search(rf"(?m)^\| `{name}` \|(.*)\|(.*)\|(.*)\|$", table)
        text = f"# {name}\n\n{about['idea']}\n\n```mermaid\n{about['drawing']}```\n\n"
        text += f"- **Use it when:** {about['use']}\n- **Take another when:** {about['avoid']}\n"
        assert figures, f"docs/models.md has no row of {name}"
        text += f"- **Measured here** (published, or a peer's): {figures[3].strip()}; [all figures](../results.md)\n"
        text += f"\n## Equations and arguments\n\n::: {model.__module__}.{name}\n"
        text += "    options: {show_root_heading: false, show_root_toc_entry: false, members: false}\n"
        if path := next((p for stem in (file, name.lower()) if (p := ROOT / f"conf/{stem}.yaml").is_file()), None):
            text += f"\n## Configuration\n\n`python -m recgnn.fit --config {path.stem}`\n\n"
            text += f"```yaml\n{path.read_text('utf-8')}```\n"
        of[name] = text + "\n[Which model to begin with](../models.md)\n"
    return of


def reference(title: str, modules: list[str]) -> str:
    """A page of the reference."""
    return f"# {title}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"


def commands() -> str:
    """Every command with the text of its --help."""
    from recgnn.cli.entry import COMMANDS

    text = "# Commands\n\nEach is `python -m recgnn.NAME` or `recgnn NAME`.\n"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"COLUMNS": "110", "PYTHONPATH": path}
    for name, about in COMMANDS.items():
        call = [sys.executable, "-m", f"recgnn.{name}", "--help"]
        told = subprocess.run(call, capture_output=True, text=True, check=True, env=environment, cwd=ROOT).stdout
        text += f"\n## {name}\n\n{about[0].upper()}{about[1:]}.\n\n```text\n{told.rstrip()}\n```\n"
    return text


def configurations() -> str:
    """The configurations that come with the package."""
    from recgnn.files import shipped

    rows = []
    for name, path in shipped().items():
        first = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        rows.append(f"| `{name}` | {re.split(r'[:?]? python -m', first)[0].replace('|', '/')} |")
    head = "# Configurations\n\n`python -m recgnn.fit --config NAME`\n\n| name | what it is |\n|---|---|\n"
    return head + "\n".join(rows) + "\n"


def rooms() -> str:
    """Which room of the package imports which, drawn from the sources; arrows that others imply are left out."""
    arrows = set()
    for path in (ROOT / "recgnn").rglob("*.py"):
        own = path.relative_to(ROOT / "recgnn").parts
        mine = own[0] if len(own) > 1 else "commands" if own[0] not in ("errors.py", "files.py") else None
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recgnn."):
                other = node.module.split(".")[1]  # type: ignore[union-attr]
                if mine and other != mine and (ROOT / "recgnn" / other).is_dir():
                    arrows.add((mine, other))
    implied = {(one, last) for one, other in arrows for first, last in arrows if other == first}
    for _ in arrows:
        implied |= {(one, last) for one, other in implied for first, last in arrows if other == first}
    lines = "\n".join(f"  {one} --> {other}" for one, other in sorted(arrows - implied))
    return f"```mermaid\nflowchart TD\n{lines}\n```"
