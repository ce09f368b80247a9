"""The vectors that a trained CTR model has of the values of a field."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.encoders import KNOWN, Categorical
from recgnn.data.clicks.field_encoders import FieldEncoders
from recgnn.errors import ConfigError
from recgnn.models.ctr import CTRModel
from recgnn.models.ffm import FFM


def vectors_of(
    model: CTRModel, encoders: FieldEncoders, field: str, values: pd.Series
) -> tuple[Tensor, np.ndarray]:
    """The vectors of a field's values [n, D], and which of them train has [n].

    Raises:
        ConfigError: for a model that has none, or a field that is no category of single values.
    """
    name, table = type(model).__name__, getattr(model, "embedding", None)
    if isinstance(model, FFM):
        raise ConfigError(f"{name} has a vector of a value for each other field, and none for the value as such")
    if table is None:
        raise ConfigError(f"{name} has a weight for a value and no vector")
    encoder = encoders.encoders.get(field)
    if not isinstance(encoder, Categorical) or encoder.num_slots != 1:
        raise ConfigError(f"{field} is not a categorical field of this run, so it has no vectors")
    rows, _ = encoder.encode(values.rename(field))
    before = list(encoders.encoders).index(field)
    start = sum(encoders.dims[:before])
    return table.weight.detach()[torch.from_numpy(rows[:, 0]).long() + start], rows[:, 0] >= KNOWN
