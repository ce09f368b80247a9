"""The steps of the Dockerfile in a clean folder, for a machine where no image can be built: does its server answer?

    python benchmarks/container_steps.py --run RUN --torch_index ""     # as root; "" takes torch from pip's own index

Each COPY, RUN and ENV is carried out in a new folder, with /venv, /src and /served inside it; then the entry point is
started as the user of the last stage, with nothing else in its environment and a run that it cannot write, and asked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a container file, each on one line, without comments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--torch_index", help="instead of that of the file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(options.run, folder / "served")
        subprocess.run(["chmod", "-R", "a+rX,a-w", folder / "served"], check=True)
        environment, place, user, command = {}, folder, "0:0", []

        def inside(text: str) -> str:
            return re.sub(r"(?<![\w/.])/(venv|src|served|tmp)\b", rf"{folder}/\1", text)

        for word, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
            if word == "FROM":
                environment = {"PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin", "HOME": name}
                environment |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
            elif word == "ARG":
                key, _, value = rest.partition("=")
                environment[key] = value if options.torch_index is None else options.torch_index
            elif word == "ENV":
                for key, _, value in (pair.partition("=") for pair in shlex.split(rest)):
                    environment[key] = inside(value).replace("$PATH", environment["PATH"])
            elif word == "WORKDIR":
                place = Path(inside(rest))
                place.mkdir(exist_ok=True)
                place.chmod(0o777)
            elif word == "COPY" and not rest.startswith("--from"):  # the stages have one folder here
                *sources, target = rest.split()
                for source in sources:
                    copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                    copy(ROOT / source, place / target / ("" if target != "./" else source))
            elif word == "RUN":
                print(f"RUN {rest}", flush=True)
                subprocess.run(["sh", "-c", inside(rest)], cwd=place, env=environment, check=True)
            elif word == "USER":
                user = rest
            elif word in ("ENTRYPOINT", "CMD"):
                command += [inside(part) for part in json.loads(rest)]
            elif word == "HEALTHCHECK":
                health = json.loads(rest.partition("CMD ")[2])
        shutil.rmtree(folder / "src")  # the last stage does not have it
        own = ["setpriv", "--reuid", user.partition(":")[0], "--regid", user.partition(":")[2], "--clear-groups",
               "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]  # Python may be root's here
        environment = {key: value for key, value in environment.items() if not key.startswith("PIP_")}
        start = time.perf_counter()
        server = subprocess.Popen([*own, *command], cwd=place, env=environment)
        try:
            while subprocess.run([*own, *health], cwd=place, env=environment, capture_output=True).returncode:
                if server.poll() is not None or time.perf_counter() - start > 300:
                    raise SystemExit("the server does not answer")
                time.sleep(1)
            about = json.load(urllib.request.urlopen("http://127.0.0.1:8000/health"))
            question = json.dumps({"users": about["some_users"], "k": 3}).encode()
            request = urllib.request.Request("http://127.0.0.1:8000/recommend", question)
            request.add_header("Content-Type", "application/json")
            print(json.load(urllib.request.urlopen(request)))
            status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
            size = sum(file.stat().st_size for file in (folder / "venv").rglob("*") if not file.is_symlink())
            print(f"{about['run']}\n{re.search(r'Uid:.*', status)[0]}; the environment has {size / 2**20:.0f} MB")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
