"""What `benchmarks/serving.py` checks beside speed: refusals, and that no answer is wrong while all changes."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from urllib.parse import urlsplit

KEYED = {"X-API-Key": "benchmark", "Content-Type": "application/json"}
PATHS = ["/", "/docs", "/openapi.json", "/health", "/metrics", "/recommend", "/similar", "/predict", "/explain",
         "/history", "/reload", "/nowhere"]  # fmt: skip


def asked(url: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """The status and body of an answer, over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def keyless(url: str) -> str:
    """Ask for everything without the key, and with wrong ones."""
    found = Counter[int]()
    keys = {}, {"X-API-Key": "benchmarks"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}
    for path, method, key in product(PATHS, ("GET", "POST"), keys):
        found[asked(url, method, path, b'{"users": [1]}', KEYED | {"X-API-Key": ""} | key)[0]] += 1
    wrong = {status: number for status, number in found.items() if status != 401}
    return f"without the key: {found[401]} requests refused with 401" + f", OTHERS {wrong}" * bool(wrong)


IDS = [True, 1.5, "", "x" * 600, [], [[1]], [None], [1, {"a": 2}], {}, 10**30, list(range(2000)), float("nan"), None]
NUMBERS = [0, -1, 1.5, "ten", [], 1001, True, None, 10**30, float("inf")]
BROKEN = [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{'users': [1]}", b'{"users": [1]', b"[" * 5000,
          b'{"users": [1], "users": }', b"\x00" * 100, b"x" * (2**20 + 1)]  # fmt: skip


def malformed(number: int, seed: int = 20) -> list[tuple[str, str, bytes]]:
    """Requests that no server should answer: method, path, body."""
    draw, found = random.Random(seed), []
    right = {"recommend": {"users": [1]}, "similar": {"items": [1]}, "explain": {"user": 1, "items": [1]},
             "history": {"user": 1}, "predict": {"rows": [{"user": 1, "item": 1}]}}  # fmt: skip
    lengths = {"recommend": "k", "similar": "k", "explain": "parts"}
    while len(found) < number:
        name, kind = draw.choice(list(right)), draw.randrange(5)
        field, method, path = draw.choice(list(right[name])), "POST", f"/{name}"
        body = json.dumps(right[name] | {field: draw.choice(IDS)}).encode()
        if kind == 0:
            body = draw.choice(BROKEN)
        elif kind == 1:
            path = draw.choice(["/nowhere", "/recommend/1", "/../etc/passwd", f"/{name}s", "/%00", "//"])
        elif kind == 2:
            method = draw.choice(["PUT", "DELETE", "PATCH", "GET"])
        elif kind == 3 and name in lengths:
            body = json.dumps(right[name] | {lengths[name]: draw.choice(NUMBERS)}).encode()
        elif kind == 4:
            body = json.dumps(right[name] | {draw.choice(["usres", "q", "K"]): 1}).encode()
        found.append((method, path, body))
    return found


def refusals(url: str, number: int = 200) -> str:
    """Send malformed requests, each of which is to get 4xx and one line."""
    statuses, wrong = Counter[int](), []
    for method, path, body in malformed(number):
        status, answer = asked(url, method, path, body, KEYED)
        statuses[status] += 1
        try:
            line = json.loads(answer)["error"]
        except (ValueError, LookupError, TypeError):
            line = ""
        if not 400 <= status < 500 or not line or "\n" in line:
            wrong.append((status, method, path, body[:80], answer[:80]))
    told = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))
    return f"{number} malformed requests: {told}; {len(wrong)} without a line or not refused {wrong[:3] or ''}"


def under_change(url: str, expected: dict, change: Callable[[], object], seconds: float, clients: int = 8) -> str:
    """Ask for lists of known users from several clients while something is done again and again.

    Args:
        url: of the server.
        expected: the right list of each user.
        change: what is done meanwhile.
        seconds: how long.
        clients: how many ask.
    """
    stop, counts, lock, users = threading.Event(), Counter[str](), threading.Lock(), list(expected)

    def client(seed: int) -> None:
        draw, own = random.Random(seed), Counter[str]()
        while not stop.is_set():
            user = draw.choice(users)
            try:
                body = json.dumps({"users": [user], "k": 10}).encode()
                status, answer = asked(url, "POST", "/recommend", body, KEYED)
            except (OSError, http.client.HTTPException):
                own["no connection"] += 1
                time.sleep(0.05)
                continue
            items = [row["item"] for row in json.loads(answer)["lists"][0]["items"]] if status == 200 else None
            own["right" if items == expected[user] else f"status {status}" if status != 200 else "WRONG"] += 1
        with lock:
            counts.update(own)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    end, changes = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        change()
        changes += 1
        time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    return f"{changes} times: " + ", ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
