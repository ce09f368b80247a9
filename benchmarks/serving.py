"""How many questions a second `python -m recgnn.serve` answers, how long each takes, and what it keeps.

    python benchmarks/serving.py --run RUN                      # needs wrk (apt install wrk), on the path or --wrk
    python benchmarks/serving.py --run RUN --requests 100000    # goes on at 64 clients until so many were answered
    python benchmarks/serving.py --run RUN --seconds 0          # the checks alone, without wrk

The command is started as a process of its own. Every question is POST /recommend for one user at random, k 10. With
1, 8 and 64 clients, `--seconds` each; then once more with 64 while the run is reloaded all the time. wrk counts answers
other than 200 and broken connections. Memory is the resident set of the server.

Then the checks: everything is refused without the key; 200 malformed requests get 4xx and one line; and while eight
clients ask, the run is reloaded, and the server killed and started again, each list being held against that of `load`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pandas as pd
from serving_checks import keyless, refusals, under_change

import recgnn

SCRIPT = """\
local users = {}
function init(arguments)
  for line in io.lines(arguments[1]) do users[#users + 1] = line end
  math.randomseed(20)
  wrk.method, wrk.headers["Content-Type"], wrk.headers["X-API-Key"] = "POST", "application/json", "benchmark"
end
function request()
  return wrk.format(nil, nil, nil, '{"users": [' .. users[math.random(#users)] .. '], "k": 10}')
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def memory(process: subprocess.Popen) -> float:
    """The resident set of a process, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def cpu(process: subprocess.Popen) -> float:
    """The CPU seconds of a process until now."""
    ticks = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def asked(url: str, body: dict | None = None) -> dict:
    """The answer to a question with the key; GET without a body."""
    headers = {"X-API-Key": "benchmark", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)


def started(run: Path, port: str = "0") -> tuple[subprocess.Popen, str, float]:
    """Start the server, and wait for the first answer: the process, where it is, and the CPU seconds it took."""
    command = [sys.executable, "-m", "recgnn.serve", "--run", str(run), "--port", port, "--watch", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"RECGNN_API_KEY": "benchmark"})  # fmt: skip
    told = ""
    while (match := re.search(r"http://[\d.:]+", told)) is None:
        line = process.stderr.readline()
        if not line:
            raise SystemExit(f"the server has ended: {told}")
        told += line
    threading.Thread(target=process.stderr.read, daemon=True).start()
    user = asked(f"{match[0]}/health")["some_users"][0]
    asked(f"{match[0]}/recommend", {"users": [user]})
    return process, match[0], cpu(process)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--seconds", type=int, default=20, help="how long each row takes (default: 20)")
    parser.add_argument("--requests", type=int, default=0, help="answers in all before memory is looked at")
    parser.add_argument("--wrk", default="wrk", help="the load generator's program")
    options = parser.parse_args()
    words = (sys.executable, "-c", "import torch, time; print(time.process_time())")
    torch = float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    process, url, first = started(options.run)
    print(f"first answer after {first:.2f} CPU seconds, of which torch's import {torch:.2f}; {memory(process):.0f} MB")
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        script, users = Path(folder) / "ask.lua", Path(folder) / "users"
        script.write_text(SCRIPT, encoding="utf-8")
        ids = pd.read_parquet(options.run / "vocabulary/users.parquet")["id"]
        users.write_text("\n".join(json.dumps(one) for one in ids.tolist()) + "\n", encoding="utf-8")

        def load(clients: int) -> dict:
            how = ["-t1", f"-c{clients}", f"-d{options.seconds}s", "--timeout", "30s", "-s", str(script)]
            command = [options.wrk, *how, f"{url}/recommend", "--", str(users)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return json.loads(out.splitlines()[-1])

        print("clients  requests/s  p50 ms  p99 ms  errors  CPU ms/request  memory MB")
        rows = [(str(clients), clients) for clients in (1, 8, 64)] + [("64, reloading", 64)]
        for name, clients in rows if options.seconds else []:
            stop = threading.Event()
            reloads: list[dict] = []
            if "reloading" in name:
                thread = threading.Thread(target=reloading, args=(url, stop, reloads))
                thread.start()
            before, found = cpu(process), load(clients)
            used = (cpu(process) - before) / max(1, found["requests"])
            stop.set()
            total += found["requests"]
            rate, p50, p99 = found["requests"] / found["us"] * 1e6, found["p50"] / 1e3, found["p99"] / 1e3
            figures = f"{rate:8.0f}  {p50:6.1f}  {p99:6.1f}  {found['errors']:5d}  {used * 1e3:8.2f}"
            print(f"{name:>13}  {figures}  {memory(process):8.0f}", flush=True)
            if reloads:
                thread.join()
                print(f"{'':>13}  {len(reloads)} reloads")
        while total < options.requests:
            total += load(64)["requests"]
            print(f"{total:,} requests: {memory(process):.0f} MB", flush=True)
    checked(options.run, process, url)


def checked(run: Path, process: subprocess.Popen, url: str) -> None:
    """Check refusals, and the answers while the run is reloaded and the server is killed."""
    print(keyless(url), refusals(url), sep="\n", flush=True)
    offline = recgnn.load(run).recommend(k=10).groupby("user")["item"].agg(list)
    expected = dict(zip(offline.index.tolist(), offline, strict=True))
    print("reloaded", under_change(url, expected, lambda: asked(f"{url}/reload", {}), 15), flush=True)

    def killed() -> None:
        nonlocal process
        process.kill()
        process.wait()
        process = started(run, url.rpartition(":")[2])[0]

    print("killed", under_change(url, expected, killed, 30), flush=True)
    process.terminate()
    process.wait()


def reloading(url: str, stop: threading.Event, answers: list[dict]) -> None:
    """Load the run anew until it is enough."""
    while not stop.is_set():
        answers.append(asked(f"{url}/reload", {}))
        time.sleep(1)


if __name__ == "__main__":
    main()
