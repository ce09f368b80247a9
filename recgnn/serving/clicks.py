"""A trained CTR model put to use: probabilities of raw rows, and the items that users will most likely take."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.clicks.encoders import KNOWN, Categorical
from recgnn.data.clicks.history import History
from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import ITEM, PARTS, TITLE, USER
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.frames import as_pandas, like
from recgnn.data.readers.lists import LISTS, hold_lists, plain_lists
from recgnn.data.readers.origin import need_columns
from recgnn.errors import ConfigError, DataError, RunError, shown
from recgnn.models.ctr import CTRModel
from recgnn.serving.columns import own_columns
from recgnn.serving.event_reader import Encoded, EventReader
from recgnn.serving.ids import as_list
from recgnn.serving.output import concatenated
from recgnn.serving.trained import Score, TrainedModel
from recgnn.serving.unknown import Unknown

BLOCK = 2**15  # events at once, less what their histories hold


class TrainedCTR(TrainedModel, EventReader):
    """A finished run of a CTR model.

    Args:
        run: the run folder.
        model: the model of its checkpoint.

    Raises:
        RunError: if the folder lacks the fields, or they are damaged.
    """

    model: CTRModel

    def __init__(self, run: str | Path, model: CTRModel):
        TrainedModel.__init__(self, run, model)
        EventReader.__init__(self, self.run / "vocabulary", model.reads_history)
        if (model.field_dims, model.slots) != (self.encoders.dims, self.encoders.slots):
            raise RunError(f"{self.run}: its checkpoint is of other data: its fields are not those of vocabulary/")
        if self.tables is not None:
            table, liked = self.tables.items, self.tables.item[self.tables.positive]
            titles = table[[TITLE]] if TITLE in table else None
            kinds = [self.types.get(side, "text") for side in (USER, ITEM)]
            self.users = Vocabulary(pd.Index(self.tables.users[USER], dtype="str"), kind=kinds[0])
            popularity = np.bincount(liked, minlength=len(table))
            self.items = Vocabulary(pd.Index(table[ITEM], dtype="str"), titles, popularity, kinds[1])

    def before(self, part: str) -> TrainedCTR:
        """Return this run as it could have answered before a `part`, `val` or `test`: it knows the users' fields,
        context and past from the events of earlier parts alone.

        Raises:
            ConfigError: if the run does not know its users and items.
        """
        earlier = copy.copy(self)
        for name in ("_liked", "encoded_users", "_seen_in"):
            vars(earlier).pop(name, None)
        earlier.tables = self.known.before(part)
        earlier.users = Vocabulary(pd.Index(earlier.tables.users[USER], dtype="str"), kind=self.users.kind)
        return earlier

    def seen_in(self, *parts: str) -> UserItems:
        table, codes = self.known, [PARTS.index(part) for part in parts]
        rows = np.isin(table.part, codes)
        if set(parts) == set(PARTS):
            rows[:] = True  # with what the split left out
        rows &= table.user < len(self.users)
        users, items = (torch.from_numpy(x[rows].astype(np.int64)) for x in (table.user, table.item))
        return UserItems.from_pairs(users, items, len(self.users))

    def _length(self, k: int) -> int:
        _ = self.known  # refuses a run without users and items
        return super()._length(k)

    def sizes(self) -> str:
        fields = f"{len(self.encoders.fields)} fields of {sum(self.encoders.dims):,} values"
        return fields if self.tables is None else f"{fields}, {len(self.users):,} users, {len(self.items):,} items"

    # ---- rows

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with a column prediction: the probability of a positive label, or the number of regression.

        Values that are not in the training data count as unknown, with a warning for fields where they are far more
        than in validation; columns that the frame lacks, other than user and item, as having no value, with a warning;
        columns that the model does not know are passed on. A model of sequences sees the items that the row's user
        liked before the row's time, in all of the run's data; all of them where the row has no time, and none for an
        unknown user.

        Raises:
            DataError: for a missing user, item or history, text in a numeric column, histories that cannot be read, or
                a column that is called prediction.
        """
        return self._with_answers(frame, "prediction")

    def _with_answers(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        own, given = self.own(frame, name), as_pandas(frame)
        if missing := self.missing(own):
            warnings.warn(f"missing columns, taken as having no value: {', '.join(missing)}", stacklevel=3)
        answers = self.answers(own, unknown := Unknown(self.encoders.usual))
        if warning := unknown.warning():
            warnings.warn(warning, stacklevel=3)
        return like(frame, given.assign(**{name: answers}))

    def own(self, frame: pd.DataFrame, adds: str, what: str = "the frame", remedy: str = "") -> pd.DataFrame:
        """A frame to predict, with the run's own names of columns.

        Args:
            frame: raw rows.
            adds: the column that the predictions are to have.
            what: what to call the frame in messages.
            remedy: how to mend it where the user or the item is missing.

        Raises:
            DataError: if it lacks the user, the item or the history, or all columns of the model.
        """
        found = own_columns(frame, self.names, self.needed, what, adds, remedy)
        if len(self.missing(found)) == len(self.columns):
            there = ", ".join(map(str, frame.columns[:12]))
            raise DataError(f"{what}: has none of the model's columns ({', '.join(self.columns)}); found: {there}")
        for column, field in self.encoders.fields.items():
            if field.kind != "multi" and column in found and hold_lists(plain_lists(found[column].iloc[:1000])):
                raise DataError(f"{what}: column '{column}' holds lists, and is {field.kind} in this run")
        return found

    def answers(self, frame: pd.DataFrame, unknown: Unknown) -> np.ndarray:
        """The predictions of the rows of `frame` whose columns have the run's names, [n]; those with unknown values
        are counted."""
        answers = torch.empty(len(frame))
        for start in range(0, len(frame), BLOCK):
            block = frame.iloc[start : start + BLOCK]
            encoded = self.encode(block)
            counts = self.encoders.unknown(encoded.ids.numpy())
            unknown.add({column: count for column, count in counts.items() if column in block}, len(block))
            answers[start : start + BLOCK] = self.model.predict_events(*encoded, self.past(block))
        return answers.numpy()

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with a column score, which is `predict`'s prediction.

        >>> import pandas as pd, recgnn
        >>> run = recgnn.load("runs/fm-demo/1")
        >>> run.score(pd.DataFrame({"user": [5, 3], "item": [26, 1]}))["score"].between(0, 1).all()
        np.True_
        """
        return self._with_answers(frame, "score")

    # ---- recommending

    def scorer(self, context: dict[str, Any] | None) -> Score:
        """Score those items alone that are asked for, each as an event of its own in the `context` (values by
        field)."""
        scores_of = self.pair_scorer(context)

        def score(users: Tensor, hide: Any) -> Tensor:
            scores = hide(torch.zeros(len(users), len(self.items)))
            place, items = ((scores == 0) & (users >= 0)[:, None]).nonzero().T
            scores[place, items] = scores_of(users, place, items)
            return scores

        return score

    def pair_scorer(self, context: dict[str, Any] | None) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return a function of users [B], places in them [n] in ascending order, and items [n] to scores [n].

        Args:
            context: values of fields that replace those of the users' last events.

        Raises:
            ConfigError: for a context that the model has no field for.
        """
        ours = {theirs: name for name, theirs in self.names.items()}
        context = {ours.get(name, name): value for name, value in (context or {}).items()}
        need_columns(context, self.encoders.reads, "context", error=ConfigError)
        several = {name for name, field in self.encoders.fields.items() if field.kind == "multi"}
        for name, value in context.items():
            if isinstance(value, LISTS) and name not in several:
                raise ConfigError(f"context: {name} is {shown(value)}; expected one value")
        goods = self._candidates(context)

        def scores_of(users: Tensor, place: Tensor, items: Tensor) -> Tensor:
            events = self._events(users, place, items, goods, context)
            return torch.cat([torch.empty(0), *(self.model.predict_events(*event) for event in events)])

        return scores_of

    def _candidates(self, context: dict[str, Any]) -> Encoded:
        """The items, with the numbers of their fields: of the items' own columns, or of the context for all of them.

        Raises:
            ConfigError: for a field of the item whose number is another in each of its events, or the other way round.
        """
        items, given = self.known.items, {}
        for name, field in self.encoders.fields.items():
            if field.values in context:
                given[field.values] = context[field.values]
            elif field.values is not None and (name in items) != (field.values in items):
                raise ConfigError(
                    f"the numbers of field {name!r} are in column {field.values!r}: one of the two belongs to an item, "
                    f"the other to an event; say the number that counts for all candidates: --context {field.values}=1"
                )
        return self.encode(_with(items, given)) if given else self.encoded_items

    def _events(
        self, users: Tensor, place: Tensor, items: Tensor, goods: Encoded, context: dict[str, Any]
    ) -> Iterator[tuple[Tensor, Tensor | None, History | None]]:
        """Yield blocks of events: ids, values and the past of pairs of a place in `users` [B] and an item, both [n] and
        ordered by place; `goods` are all items, as for the context."""
        rows = users.clamp(min=0)
        people = self.encoded_users.of(rows)
        if context:
            people = self.encode(_with(self.known.users.iloc[rows.numpy()], context))
        of_items = self.encoders.slots_of([ITEM, *self.known.items.columns])
        memory, step = self.memory(users.numpy()), BLOCK
        if memory is not None:
            step = max(1, BLOCK * 4 // (1 + max([0, *memory.lengths.tolist()])))
        for begin in range(0, len(place), step):
            row, item = place[begin : begin + step], items[begin : begin + step]
            ids, values = people.of(row)
            ids[:, of_items] = goods.ids[item][:, of_items]
            if values is not None and goods.values is not None:
                values[:, of_items] = goods.values[item][:, of_items]
            yield ids, values, None if memory is None else memory.of(row)

    def explain(self, user: object, items: object) -> pd.DataFrame:
        """Tell why items have their scores for a user, in the context of the user's last event: columns item, score,
        kind, of, share and, where known, title (that of `of`).

        Of a model with attention (DIN, BST) the rows, of kind `past`, are the items that the user liked before, with
        the weight that each has. Of a sum of fields and pairs of fields (LR, Poly2, FM, FFM, and DeepFM beside its
        perceptron) they are its terms, which sum to the logit: of kind `bias`, `field`, `pair` (`of` has both names)
        and `rest`. The largest come first. `model.explanation` says what the shares are.

        Args:
            user: raw id.
            items: raw ids of the items whose scores are explained.

        Raises:
            DataError: for an unknown user or item.
            ConfigError: for a model that has no such explanation.
        """
        rows = torch.from_numpy(self._rows(user, None)[0])
        targets = torch.from_numpy(self.items.require(as_list(items), ITEM))
        place, parts = torch.zeros_like(targets), list[tuple[float, pd.DataFrame]]()
        for ids, values, past in self._events(rows, place, targets, self._candidates({}), {}):
            scores = self.model.predict_events(ids, values, past).tolist()
            kind = self._of_past if hasattr(self.model, "attention") else self._of_fields
            parts += zip(scores, kind(ids, values, past), strict=True)
        frames = []
        for target, (score, frame) in zip(self.items.decode(targets.numpy()), parts, strict=True):
            frame = frame.sort_values("share", ascending=False, kind="stable")
            frame.insert(0, "item", target)
            frame.insert(1, "score", score)
            frames.append(frame)
        return concatenated(frames)

    def _of_past(self, ids: Tensor, values: Tensor | None, past: Any) -> list[pd.DataFrame]:
        """The attention of each event to its past items."""
        assert self.history is not None
        lengths, field, names = past.lengths.tolist(), self.history.item_fields[0], np.zeros(0)
        if self.history.columns is None:
            names = self.items.decode(past.items.numpy())
        else:  # items that columns hold have the names that the encoder knows
            names = np.array(self.encoders.words(field, past.ids[:, 0].numpy()), dtype=object)
        places = self.items.encode(names) if field == ITEM else np.full(len(names), -1)
        weights = cast(Any, self.model).attention(ids, values, past).numpy()
        whole = self._named(pd.DataFrame({"kind": "past", "of": names, "share": weights}), places)
        ends = np.cumsum(lengths)
        return [whole.iloc[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def _of_fields(self, ids: Tensor, values: Tensor | None, past: Any) -> list[pd.DataFrame]:
        """The terms of each event's logit."""
        terms, names = self.model.terms(ids, values), self.encoders.names
        left, right = torch.triu_indices(len(names), len(names))
        there = terms.pairs[:, left, right].abs().amax(0) > 0
        left, right = left[there].tolist(), right[there].tolist()
        kinds = ["bias", *["field"] * len(names), *["pair"] * len(left), *["rest"] * bool(self.model.rest)]
        of = ["", *names, *(f"{names[i]} x {names[j]}" for i, j in zip(left, right, strict=True))]
        found = []
        for fields, pairs, rest in zip(terms.fields, terms.pairs, terms.rest, strict=True):
            share = [float(terms.bias), *fields.tolist(), *pairs[left, right].tolist(), float(rest)][: len(kinds)]
            found.append(pd.DataFrame({"kind": kinds, "of": [*of, self.model.rest][: len(kinds)], "share": share}))
        return found

    # ---- representations

    def similarity(self) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
        vectors, known = self._vectors(ITEM, self.known.items[ITEM])
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return lambda items: unit[items] @ unit.T, known

    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The vectors of the fields user and item, a row for each value of the training data, under the raw ids; no row
        where the model has no such field.

        Raises:
            ConfigError: for a model without such vectors.
        """
        return self._table(USER, self.known.users[USER]), self._table(ITEM, self.known.items[ITEM])

    def _table(self, field: str, ids: pd.Series) -> pd.DataFrame:
        if field not in self.encoders.fields:
            return pd.DataFrame(index=pd.Index([], name=field))
        vectors, known = (x.numpy() for x in self._vectors(field, ids))
        return pd.DataFrame(vectors[known], index=pd.Index(ids.to_numpy(object)[known], name=field))

    def _vectors(self, field: str, ids: pd.Series) -> tuple[Tensor, Tensor]:
        """The vectors of a field's values [n, D], and which of them are known [n] bool."""
        encoder = self.encoders.encoders.get(field)
        if not isinstance(encoder, Categorical) or encoder.num_slots != 1:
            raise ConfigError(f"{field} is not a categorical field of this run, so it has no vectors")
        table = self.model.field_vectors(list(self.encoders.encoders).index(field))
        rows = torch.from_numpy(encoder.encode(ids.rename(field))[0][:, 0]).long()
        return table[rows], rows >= KNOWN


def _with(frame: pd.DataFrame, values: dict[str, Any]) -> pd.DataFrame:
    """The frame with the same value in every row of some columns; it may be a list."""
    return frame.assign(**{name: pd.Series([value] * len(frame), frame.index) for name, value in values.items()})
