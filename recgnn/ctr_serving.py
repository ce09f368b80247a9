"""A trained CTR model put to use: raw rows in, probabilities out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from recgnn import runs
from recgnn.data.field_encoders import FieldEncoders
from recgnn.models.ctr import CTRModel

BLOCK = 2**15  # events at once


class TrainedCTR:
    """A finished run of a CTR model, loaded from its folder alone.

    Args:
        run: the run folder.
        model: the model of its checkpoint.

    Raises:
        RunError: if the folder lacks the fields, or they are damaged.
    """

    task = "ctr"

    def __init__(self, run: Path, model: CTRModel):
        self.run = runs.existing_run(run)
        self.encoders = FieldEncoders.load(self.run / "vocabulary")
        self.model = model.eval()

    @property
    def columns(self) -> list[str]:
        """The columns of raw rows that the model looks at."""
        return list(self.encoders.fields)

    def missing(self, frame: pd.DataFrame) -> list[str]:
        """Those that a frame lacks."""
        return [column for column in self.columns if column not in frame.columns]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a column prediction, the probability of a positive label.

        Values that train does not have count as unknown, and columns that the frame lacks as having no value; columns
        that the model does not know are passed on.

        Raises:
            DataError: for text in a numeric column.
        """
        found = torch.empty(len(frame))
        for start in range(0, len(frame), BLOCK):
            ids, values = self.encoders.encode(frame.iloc[start : start + BLOCK])
            values = None if values is None else torch.from_numpy(values)
            found[start : start + BLOCK] = self.model.predict_events(torch.from_numpy(ids), values)
        return frame.assign(prediction=found.numpy())
