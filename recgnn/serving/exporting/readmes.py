"""The README.md of an export: what its files are, and how they are used."""

from __future__ import annotations

from recgnn.data.readers.notation import ISO, UNITS
from recgnn.errors import in_markdown
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.exporting.encoding import encoding_of, has_histories
from recgnn.serving.recommender import TrainedRecommender

TAKES = {
    "categorical": "one value: text or number",
    "multi": "several values: a list, also in JSON, or one text, separated by `{separator}`; the first {slots} count",
    "number": "a number",
    "log2": "a number",
    "quantile": "a number",
    "time": "a moment: {time}",
}


def notation_of(how: dict) -> str:
    """How moments are written."""
    zone, number = how["zone"] or "UTC", how["written"] in UNITS
    written = f"numbers in `{how['written']}` since 1970" if number else f"`{how['written']}`, in {zone}"
    return written if how["written"] == ISO else f"{written}, or a date in ISO 8601"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(in_markdown, cells))} |" for cells in lines)


def inputs_of(about: dict) -> str:
    """The inputs and the output of a model."""
    rows = [[f"`{i['name']}`", " x ".join(map(str, i["shape"])), i["type"], TOLD[i["name"]]] for i in about["inputs"]]
    output = about["output"]
    rows.append([f"`{output['name']}`", " x ".join(map(str, output["shape"])), "float32", "the output"])
    return table(["name", "shape", "type", "what it is"], rows)


TOLD = {
    "ids": "rows of the table of all fields, a column for each slot (see encoding.json)",
    "values": "x, what each of them is multiplied with: 1, 1/n, a number, or 0 for none",
    "history_ids": "the same of past items, oldest first; behind the last one anything, such as 0",
    "history_values": "their values",
    "history_lengths": "how many past items each event has; 0 for none",
    "history_gaps": "seconds between a past item and the event",
    "users": "rows of users (`row` of users.parquet)",
    "rows": "rows of the interaction matrix, see below",
}


def columns_of(trained: TrainedCTR) -> str:
    """What the columns of raw rows are."""
    encoding, rows = encoding_of(trained), []
    for column in dict.fromkeys(field["column"] for field in encoding["fields"]):
        own = [field for field in encoding["fields"] if field["column"] == column]
        told = own[0] | ({"time": notation_of(own[0]["time"])} if "time" in own[0] else {})
        takes = TAKES[own[0]["kind"]].format(**told)
        if mark := own[0].get("weights"):
            takes += f"; each with a number x behind it, as `tag{mark}0.5`, or alone (x = 1)"
        rows.append([f"`{encoding['names'].get(column, column)}`", own[0]["kind"], takes])
    for field in encoding["fields"]:
        if field.get("value_column"):
            rows.append([f"`{field['value_column']}`", "number", f"x, the number of the value of `{field['column']}`"])
    history = encoding["history"]
    if history:
        for field, column in history["columns"].items():
            rows.append([f"`{column}`", "history", f"the past values of `{field}`, oldest first"])
    if history and history["times"]:
        rows.append([f"`{history['times']}`", "history", "their times"])
        rows.append([f"`{history['timestamp']}`", "time", f"the row's own: {notation_of(history['time'])}"])
    text = table(["column", "kind", "what it holds"], rows)
    text += (
        "\n\nA value that is not in the training data counts as unknown, an empty one (or a missing column other "
        "than those of user and item) as missing: both have rows of their own. Other columns are passed on.\n"
    )
    if history:
        text += f"""
A history is what the row's user liked before the row, of which the newest {history["max_length"]} count: a list in
each cell, in CSV in JSON or one text with {_spelt(history["separator"])} between the items (`separator` in
encoding.json changes that). The columns of a history go together and have equally many entries; an empty cell is no
history, which is fine. A past item whose field has several values holds them in one entry, as in a row.
"""
    return text


def _spelt(separator: str) -> str:
    return "a space" if separator == " " else f"`{separator}`"


def histories_of(trained: TrainedCTR) -> str:
    """Where the histories of the rows come from."""
    history = encoding_of(trained)["history"]
    if history is None:
        return ""
    lists = [f"{column}=({field!r}, list)" for field, column in history["columns"].items()]
    lists += [f"{history['times']}=('timestamp', list)"] if history["times"] else []
    text = ""
    if has_histories(trained):
        text = """
`histories.parquet` has the histories of the users of this run. Where a table has no column of histories, score.py takes
them from there by the columns `user` and `timestamp`: what the user liked before that time, or all of it.
"""
    return f"""
## Histories
{text}
score.py refuses a table without histories, unless `--without_histories` says that nobody has one. To write the columns
of one history for each user, from a table `events` of past events:

```python
liked = events[events["label"] == 1].sort_values("timestamp").groupby("user")
rows = rows.join(liked.agg({", ".join(lists)}), on="user")
```
"""


def onnx_readme(trained: TrainedCTR, about: dict) -> str:
    """The README of `--format onnx`."""
    return f"""# {about["model"]} of {in_markdown(about["data"])}, as ONNX

```bash
pip install numpy pandas pyarrow onnxruntime
python score.py rows.csv --output scores.csv
```

adds a column `prediction` to a table of raw rows: {_answer(about)}. Neither torch nor recgnn is needed.

{columns_of(trained)}{histories_of(trained)}
## Files

- `score.py`: the program above, to use or to copy from: `from score import Scorer; Scorer("this/folder").score(frame)`
- `model.onnx`: opset {about["opset"]}, IR version {about["ir_version"]}; inputs below
- `encoding.json`, `vocabulary.parquet`: how raw values become ids and values: the fields in the order of the ids, each
  with the first of its rows (`start`), and the known values with their rows within the field
- `export.json`: what this README says of the model, to be read by programs

{inputs_of(about)}

## Encoding in short

Row 0 of a field is for unknown values, row 1 for missing ones, known values begin at 2. `categorical`: the row of the
value as text (by `type`: in `integer` and `number` 12, 12.0 and "12" are one, in `bool` 1, true and True); with
`buckets`, 2 + hash modulo buckets, where the hash is `pandas.util.hash_array` of the text; where `value_column` names
one, the value is its number, and row 1 with value 1 where one of the two is missing. `multi`: the rows of the values,
of value 1 (`sum`) or 1/n (`mean`); with `weights`, of the number x behind that mark (`sum`) or x over the sum of all
|x| (`mean`), and none for an empty cell. `number`: row 0 with the value (x - mean) / scale,
of sign(x) ln(1 + |x|) in place of x where `log` says so, or row 1 with value 1.
`log2`: the category floor(ln(x)^2) of x > 2, else int(x), or the nearest that there is. `quantile`: the category of
the number of edges <= x. `time`: the category of a part of the moment, in UTC.
"""


def _answer(about: dict) -> str:
    return "the probability of a positive label" if about["output"]["name"] == "probability" else "a number"


def torch_readme(trained: TrainedCTR | TrainedRecommender, about: dict) -> str:
    """The README of `--format torch`."""
    raw = ""
    if isinstance(trained, TrainedCTR):
        raw = f"\n## Raw rows\n\n`encoding.json` and `vocabulary.parquet` tell how raw rows become ids and values.\n\
{columns_of(trained)}"
    notes = "\n".join(f"- {note}" for note in about["notes"])
    return f"""# {about["model"]} of {in_markdown(about["data"])}, as a program of torch.export

```python
import torch

program = torch.export.load("model.pt2").module()
scores = program({", ".join(i["name"] for i in about["inputs"])})
```

It needs torch {about["versions"]["torch"].split("+")[0]} or newer, and no recgnn.
Batches and histories may have any size.

{inputs_of(about)}

{notes}
{raw}"""


def embeddings_readme(about: dict, index: str | None) -> str:
    """The README of `--format embeddings`."""
    notes: list[str] = list(about["notes"])
    if about["dim"] > about["representation_dim"]:
        notes.append(
            f"the first {about['representation_dim']} dimensions are the representation, whose cosine tells similar "
            "items; the others hold a bias"
        )
    listed = "".join(f"- {note}\n" for note in notes)
    text = f"""# {about["model"]} of {in_markdown(about["data"])}, as vectors

The score of an item for a user is the inner product of their vectors.

- `users.npy` [{about["users"]} x {about["dim"]}] and `items.npy` [{about["items"]} x {about["dim"]}], float32: a row
  for each user and item
- `users.parquet`: `user` (raw id), `row`, `seen` (rows of the items that the user has), `vector`
- `items.parquet`: `item` (raw id), `row`, `title` where it is known, `vector`
{listed}
```python
import numpy as np
import pandas as pd

users, items = pd.read_parquet("users.parquet"), pd.read_parquet("items.parquet")
user, item = np.load("users.npy"), np.load("items.npy")
row = 0  # or of a raw id: users.index[users["user"] == ...][0]
scores = item @ user[row]
scores[users["seen"][row]] = -np.inf
print(items[["item"]].assign(score=scores).nlargest(10, "score"))
```
"""
    if index == "faiss":
        text += """
With FAISS (`items.faiss`, an IndexFlatIP): ask for as many more as the user has seen, and leave those out.

```python
import faiss

index, seen = faiss.read_index("items.faiss"), users["seen"][row]
scores, rows = index.search(user[row][None], min(10 + len(seen), index.ntotal))
kept = ~np.isin(rows[0], seen)
print(items["item"].to_numpy()[rows[0][kept][:10]], scores[0][kept][:10])
```
"""
    return text
