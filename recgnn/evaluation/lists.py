"""Somebody's lists of recommendations, of any tool: read from a table, and measured on a part of a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recgnn.data.interactions.compound import COMMA, joined
from recgnn.data.interactions.graph import UserItems, chained
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.interactions.prepared import Part, PreparedLog
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.readers.lists import LISTS
from recgnn.data.readers.origin import Origin, need_columns, shown
from recgnn.data.readers.tables import text_blocks
from recgnn.data.readers.values import clean_numbers
from recgnn.errors import DataError
from recgnn.evaluation.groups import NUM_GROUPS, Group, as_groups, quantile_groups
from recgnn.evaluation.metrics.ranking import CatalogueMetric, RankingMetric, match, of_users

RANK, SCORE = "rank", "score"
USUAL = {USER: ("user", "userid", "uid"), ITEM: ("item", "items", "itemid", "iid"), RANK: ("rank", "ranks"),
         SCORE: ("score", "scores", "prediction")}  # names of columns, but for case and signs  # fmt: skip
NOTHING = -3.4e38  # scores below it stand beside no recommendation: float32's lowest, with which `implicit` fills up
CELLS = 2**22  # places of lists that are measured at once


class Labels(NamedTuple):
    """What a part of a log is measured by.

    Attributes:
        users: Rows of the users with a label, ascending, [T].
        relevant: The items that each user of the log has in the part.
        known: Those that a user has before it, which the protocol does not rank.
        repeats: Whether it ranks them all the same, as labels may be among them.
        popularity: How many users have each item in train, [I].
    """

    users: np.ndarray
    relevant: UserItems
    known: UserItems
    repeats: bool
    popularity: Tensor

    @classmethod
    def of(cls, prepared: PreparedLog, part: str) -> Labels:
        """Take the labels of `val` or `test`.

        Raises:
            DataError: If there are none.
        """
        labels = getattr(prepared, part)
        if not len(labels):
            raise DataError(f"{prepared.name}: has no {part} part to measure on ({prepared.summary['split']})")
        before = [prepared.train] + [prepared.val] * (part == "test" and not prepared.summary["val_is_test"])
        relevant, known, train = (_items(parts, prepared.num_users) for parts in ([labels], before, before[:1]))
        popularity = torch.bincount(train.items, minlength=prepared.num_items)
        return cls(np.unique(labels.user), relevant, known, prepared.summary["repeats"] == "keep", popularity)


def _items(parts: Sequence[Part], num_users: int) -> UserItems:
    users, items = (torch.from_numpy(chained([getattr(part, side) for part in parts])) for side in (USER, ITEM))
    return UserItems.from_pairs(users, items, num_users)


class Lists(NamedTuple):
    """Recommendations to users of a part, sorted by user, the best first.

    Attributes:
        users: Rows of the users, [n].
        items: Rows of the items, -1 for those that are not in the training data, [n].
        tied: Whether an item's place is that of the file alone: it ranks as the item before it, [n].
        told: How the file was read, in lines.
    """

    users: np.ndarray
    items: np.ndarray
    tied: np.ndarray
    told: list[str]


class Measured(NamedTuple):
    """Metrics of lists.

    Attributes:
        values: By name, such as `ndcg@10`; NaN where one has no meaning.
        users: A row for each user of the part: `user`, its raw id, and each metric of users.
        told: What a reader of the values must know, in lines.
        groups: For metrics.json, recall at the first K by activity of users and by popularity of items.
    """

    values: dict[str, float]
    users: pd.DataFrame
    told: list[str]
    groups: dict[str, list[Group]]


# ---- reading


def columns_of(names: Sequence[str], given: Mapping[str, str | None], path: str | Path) -> dict[str, str]:
    """Find the columns of users, items and, where there are any, ranks and scores, by what they are usually called.

    Args:
        names: The columns that there are.
        given: Names that are known, by `user`, `item`, `rank` and `score`.
        path: The file, for the error.

    Raises:
        DataError: If one is missing, or may be one of two.
    """
    found: dict[str, str] = {}
    for role, usual in USUAL.items():
        if (name := given.get(role)) is not None:
            need_columns([name], names, str(path), f"--{role} names it")
            found[role] = name
            continue
        like = [name for name in names if re.sub(r"[^a-z]", "", name.partition(":")[0].lower()) in usual]
        if len(like) > 1:
            raise DataError(f"{path}: {' and '.join(like)} may both be the {role}; say which with --{role}")
        if like:
            found[role] = like[0]
        elif role in (USER, ITEM):
            hint = "; the first line holds numbers: name the columns with --columns user,item,score"
            no_header = all(re.fullmatch(r"[-+.\deE]+", name) for name in names)
            need_columns([role], names, str(path), f"name it with --{role}" + hint * no_header)
    return found


def read_lists(
    path: str | Path,
    log: PreparedLog,
    wanted: np.ndarray,
    given: Mapping[str, str | None],
    header: Sequence[str] | None = None,
) -> Lists:
    """Read recommendations from a table of any kind, with a row for each item or, in cells of lists, for each user.

    A list is ordered by rank or else by score, the highest first, or else as it stands; so are equal ones. Ids mean
    what they mean to `recommend` and `predict`.

    Args:
        path: The file: text, JSON lines or Parquet.
        log: Whose users and items they are.
        wanted: Rows of the users to read the lists of, ascending.
        given: Names of columns by `user`, `item`, `rank` and `score`, as far as they are known.
        header: Names of all columns of a text file without a header line.

    Raises:
        DataError: If a column is missing, a rank or score is no number, or no user or no item is known.
    """
    own = {role: name for role, name in log.summary["columns"].items() if role in (USER, ITEM)}
    blocks, found, rows, empty = [], dict[str, str](), 0, 0
    several = own.get(USER, "").split(COMMA)
    for block in text_blocks(path, what="file of recommendations", header=header):
        if len(several) > 1 and {*several} <= {*block.columns}:  # ids of several columns
            block = block.assign(**{own[USER]: joined(block, several, Origin(str(path), start=rows))[1]})
        if not found:
            known = {role: name for role, name in own.items() if name in block.columns}
            found = columns_of([*block.columns], known | {k: v for k, v in given.items() if v is not None}, path)
            by = SCORE if given.get(SCORE) and not given.get(RANK) else RANK if RANK in found else SCORE
            example = block.iloc[:1]
        frame = _spread(block[[*found.values()]].set_axis([*found], axis=1), path)
        origin = Origin(str(path), columns=found, start=rows)
        rows += len(frame)
        if SCORE in frame:
            none = (pd.to_numeric(frame[SCORE], errors="coerce") <= NOTHING).to_numpy(bool, na_value=False)
            empty += int(none.sum())
            frame = frame[~none] if none.any() else frame
        key = np.zeros(len(frame))
        if by in frame:
            key = clean_numbers(frame[by], by, origin).to_numpy() * (1 if by == RANK else -1)
        blocks.append((log.users.encode(frame[USER]), log.items.encode(frame[ITEM]), key))
    if not rows:
        raise DataError(f"{path}: holds no recommendations")
    users, items, keys = (np.concatenate(x) for x in zip(*blocks, strict=True))
    for role, codes, vocabulary in ((USER, users, log.users), (ITEM, items, log.items)):
        _check_known(role, codes, vocabulary, example[found[role]], path)
    mine = np.isin(users, wanted)
    if not mine.any():
        raise DataError(f"{path}: its users are known, and none of them has a label in the part that is measured")
    order = np.flatnonzero(mine)
    order = order[np.lexsort((keys[order], users[order]))]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] = (by in found) & (np.diff(users[order]) == 0) & (np.diff(keys[order]) == 0)
    how = {RANK: f"by {found.get(RANK)}", SCORE: f"by {found.get(SCORE)}, the highest first"}
    told = [f"{path}: {rows:,} rows; users in {found[USER]}, items in {found[ITEM]}, ordered "
            f"{how[by] if by in found else 'as they stand'}"]  # fmt: skip
    if others := int((~mine).sum()):
        told.append(f"{others:,} rows are of users who are not measured")
    if empty:
        told.append(f"{empty:,} rows have the lowest score there is, and recommend nothing")
    return Lists(users[order], items[order], tied, told)


def _spread(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Return a row for each item where cells hold lists."""
    lists = [str(name) for name in frame if len(frame) and isinstance(frame[name].iloc[0], LISTS)]
    try:
        return frame.explode(lists, ignore_index=True).dropna(subset=[ITEM]) if lists else frame
    except ValueError as error:
        raise DataError(f"{path}: the lists of one row differ in length: {', '.join(lists)}") from error


def _check_known(role: str, codes: np.ndarray, vocabulary: Vocabulary, example: pd.Series, path: str | Path) -> None:
    if (codes < 0).all():
        such = shown(next(iter(example), None))
        raise DataError(f"{path}: none of its {role}s, such as {such}, is in the training data, whose {role}s are "
                        f"{', '.join(map(str, vocabulary.ids[:3]))}, ...; check --{role}")  # fmt: skip


# ---- measuring


def measure(
    lists: Lists,
    labels: Labels,
    log: PreparedLog,
    ks: Sequence[int],
    metrics: Iterable[RankingMetric | CatalogueMetric],
) -> Measured:
    """Measure lists as a run's own are: over all users with a label, those without a list with zeros.

    An item that is unknown, that the user is known to have, or that stands in the list before, keeps its place and is
    no hit; so is a place that nothing fills.

    Args:
        lists: The lists.
        labels: Of the part.
        log: The log.
        ks: Lengths of the lists that are measured, ascending.
        metrics: What is measured.
    """
    num_items, longest, metrics = log.num_items, ks[-1], list(metrics)
    place = np.searchsorted(labels.users, lists.users)
    position = np.arange(len(place)) - np.searchsorted(place, place)
    top = position < longest
    tied = np.unique(place[lists.tied & (position <= longest)]).size
    place, position, items = place[top], position[top], lists.items[top]
    repeated = pd.DataFrame({USER: place, ITEM: items}).duplicated().to_numpy() & (items >= 0)
    unknown = int((items < 0).sum())
    items = np.where(repeated | (items < 0), num_items, items)
    per_user = [metric for metric in metrics if isinstance(metric, RankingMetric)]
    kinds = {"": None} | ({"new_": False, "repeated_": True} if labels.repeats else {})
    values: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    of_items, recalls = torch.zeros(2, num_items, dtype=torch.long), list[Tensor]()  # their hits and their labels
    counts, seen, size = torch.zeros(len(ks), num_items, dtype=torch.long), 0, max(1, CELLS // longest)
    for start in range(0, len(labels.users), size):
        users = torch.from_numpy(labels.users[start : start + size])
        rows = slice(*np.searchsorted(place, [start, start + size]))
        block = torch.full((len(users), longest), num_items)
        block[place[rows] - start, position[rows]] = torch.from_numpy(items[rows])
        label_rows, label_items = labels.relevant.of(users)
        before = _keys(labels.known.of(users), num_items)
        has = torch.isin(_keys((torch.arange(len(users))[:, None], block), num_items), before) & (block < num_items)
        seen += int(has.sum())
        old = torch.isin(_keys((label_rows, label_items), num_items), before) if labels.repeats else None
        for kind, known in kinds.items():
            some = slice(None) if known is None else old == known
            hits, count, _, _ = match(block, label_rows[some], label_items[some], num_items)
            values[kind].append(of_users(per_user, ks, hits, count).T.double().masked_fill(count[:, None] == 0, np.nan))
            if known is None:
                hits = hits[:, : ks[0]]
                recalls.append(hits.sum(1) / count)
                for row, some_items in zip(of_items, (block[:, : ks[0]][hits], label_items), strict=True):
                    row += torch.bincount(some_items, minlength=num_items)
        for row, k in zip(counts, ks, strict=True):
            row += torch.bincount(block[:, :k].flatten(), minlength=num_items + 1)[:-1]
    names = [f"{metric.name}@{k}" for metric, k in product(per_user, ks)]
    found = {kind: torch.cat(parts) for kind, parts in values.items()}
    means = {f"{kind}{name}": float(x[:, i].nanmean()) for kind, x in found.items() for i, name in enumerate(names)}
    for metric, (place_of_k, k) in product(metrics, enumerate(ks)):
        if isinstance(metric, CatalogueMetric):
            means[f"{metric.name}@{k}"] = float(metric.of_counts(counts[place_of_k], labels.popularity))
    usual = [f"{metric.name}@{k}" for metric, k in product(metrics, ks)]
    each = pd.DataFrame(found[""].float().numpy(), columns=names)
    each.insert(0, USER, log.users.decode(labels.users))
    lengths = np.bincount(place, minlength=len(labels.users))
    told = {
        "users have no list: they count as zeros": int((lengths == 0).sum()),
        f"lists have fewer than {longest} items: the places that are left are misses":
            int(((lengths < longest) & (lengths > 0)).sum()),
        "recommended items are not in the training data: each keeps its place as a miss": unknown,
        "recommended items are the user's already, which the protocol does not rank: each keeps its place as a miss":
            0 if labels.repeats else seen,
        "items stand in their list a second time: the first counts, the others keep their places as misses":
            int(repeated.sum()),
        "lists have items that rank alike, which stand as in the file": tied,
    }  # fmt: skip
    lines = [f"{number:,} {what}" for what, number in told.items() if number]
    groups = _groups(f"recall@{ks[0]}", log, labels.users, torch.cat(recalls), of_items)
    return Measured({name: means.pop(name) for name in usual} | means, each, lines, groups)


def _groups(name: str, log: PreparedLog, users: np.ndarray, recalls: Tensor, items: Tensor) -> dict[str, list[Group]]:
    """Return the recall of users [T] by how active they are in train, and of items by their hits and labels [2, I]."""
    train = (torch.from_numpy(x) for x in (log.train.user, log.train.item))
    (user_group, active), (item_group, popular) = (
        quantile_groups(torch.bincount(rows, minlength=size), NUM_GROUPS)
        for rows, size in zip(train, (log.num_users, log.num_items), strict=True)
    )
    of_users = torch.zeros(2, len(active), dtype=torch.double)
    of_users.index_add_(1, user_group[torch.from_numpy(users)], torch.stack([recalls.double(), torch.ones(len(users))]))
    hits, labels = items.new_zeros(2, len(popular)).index_add_(1, item_group, items)
    return {"by_activity": as_groups(active, of_users[1].long(), **{name: of_users[0] / of_users[1]}),
            "by_popularity": as_groups(popular, labels, **{name: hits / labels})}  # fmt: skip


def _keys(pairs: tuple[Tensor, Tensor], num_items: int) -> Tensor:
    """Make one number of a row and an item, which may be `num_items`."""
    return pairs[0] * (num_items + 1) + pairs[1]
