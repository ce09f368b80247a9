"""Ids that look alike are told, and stay apart."""

from __future__ import annotations

import pandas as pd

from recgnn.data import FrameLog
from recgnn.data.readers.ids import told_twins


def test_ids_that_look_alike_are_told() -> None:
    items = ["café", "cafe\u0301", "tea", "te\u200ba", "10", "１０", "über"]
    frame = pd.DataFrame({"user": range(7), "item": items})
    log = FrameLog(frame).read()
    told = "6 of 7 items look like another one and count apart, such as 'caf\\xe9' and 'cafe\\u0301'"
    assert log.notes == (told,) and log.interactions["item"].tolist() == items
    for none in (["café", "cafe", "Café"], ["a", "b"], ["straße", "strasse"]):
        assert told_twins(pd.Series(none, dtype="str"), "item") == ()
    assert told_twins(pd.Series([1, 2]), "item") == ()
