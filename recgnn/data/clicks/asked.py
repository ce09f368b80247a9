"""What is asked of events: label, fields, split, negatives, histories; and the fields that were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.history import Histories
from recgnn.data.clicks.negatives import Drawn
from recgnn.data.clicks.owners import Kind, Owner
from recgnn.data.clicks.vectors import ReadRun
from recgnn.data.interactions.split import Split
from recgnn.data.readers.notation import Notation
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.times import UNSAID, At, Written


class Asked(NamedTuple):
    """What is to be made of events; see `prepare_events`."""

    label: str
    fields: dict[str, str | dict | Field] | None
    split: Split
    group: str | None
    task: str
    drawn: Drawn = Drawn()
    history: Histories | None = None
    whose: Mapping[str, Kind] = {}
    weight: str | None = None
    written: Written = UNSAID  # what the source says of times
    times: Notation | None = None  # of `timestamp`, where that has been found
    at: At = Origin().at
    earlier: Path | None = None
    read_run: ReadRun | None = None

    def with_names(self, ours: Mapping[str, str]) -> Asked:
        """Return the same of columns that have other names, `ours`, by those of the data."""
        fields = None if self.fields is None else {ours.get(name, name): field for name, field in self.fields.items()}
        whose = {ours.get(name, name): kind for name, kind in self.whose.items()}
        past = self.history
        if past is not None:
            columns = past.columns and {ours.get(name, name): column for name, column in past.columns.items()}
            past = replace(past, item_fields=[ours.get(name, name) for name in past.item_fields], columns=columns)
        group = self.group and ours.get(self.group, self.group)
        return self._replace(fields=fields, whose=whose, history=past, group=group)

    @property
    def negatives(self) -> int:
        """How many are sampled for each event."""
        return self.drawn.number

    @property
    def weights(self) -> list[str]:
        """The column of weights, or none."""
        return [] if self.weight is None else [self.weight]

    @property
    def said(self) -> dict[str, Kind]:
        """Whose columns are, as far as that is said; those that histories show are the item's."""
        seen: list[str] = [] if self.history is None else self.history.item_fields
        return {**dict.fromkeys(seen, cast(Kind, "item")), **self.whose}


class Chosen(NamedTuple):
    """The fields, by column, with why they are guessed so; why other columns are none; and whose the fields are."""

    fields: dict[str, Field]
    left_out: dict[str, str]
    reasons: dict[str, str]
    owners: dict[str, Owner]
