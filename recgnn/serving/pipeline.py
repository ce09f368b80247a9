"""Two stages put to use as one run: retrievers choose candidates for a user, a CTR model ranks them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml
from torch import Tensor

from recgnn.data.interactions.graph import UserItems
from recgnn.data.interactions.log import USER
from recgnn.data.stored import digest_of, read_yaml, reading, sealed_text
from recgnn.errors import ConfigError, Count, Fraction, RunError, check
from recgnn.files import atomic_path
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.ids import as_list
from recgnn.serving.output import concatenated
from recgnn.serving.recommender import TrainedRecommender
from recgnn.serving.trained import Score, TrainedModel
from recgnn.training import run_folder as runs

CONSTANT = 60  # of reciprocal ranks, as in the paper
HEAD = "# A pipeline of two stages, written by python -m recgnn.pipeline; paths are relative to this folder\n"


class Plan(NamedTuple):
    """What a pipeline is made of: run folders, how many candidates they choose, the retrievers' share in the order."""

    retrievers: list[Path]
    ranker: Path
    candidates: int
    blend: float

    def check(self) -> None:
        """Refuse impossible numbers.

        Raises:
            ConfigError: Names the option.
        """
        hints: dict[str, Any] = {"candidates": Count, "blend": Fraction}
        check("", {name: getattr(self, name) for name in hints}, hints)

    def write(self, folder: Path) -> None:
        """Write pipeline.yaml, with the checksums of the runs."""

        def of(run: Path) -> dict[str, Any]:
            files = {name: digest_of(run / name) for name in _files_of(run)}
            return {"run": os.path.relpath(run.resolve(), folder.resolve()), "files": files}

        content: dict[str, Any] = {"retrievers": [of(run) for run in self.retrievers], "ranker": of(self.ranker)}
        content |= {"candidates": self.candidates, "blend": self.blend}
        with atomic_path(folder / runs.PIPELINE) as path:
            path.write_text(sealed_text(HEAD, yaml.safe_dump(content, sort_keys=False)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read pipeline.yaml, and hold the runs against the checksums in it.

        Raises:
            RunError: If it is damaged, or a run is not there or was trained anew.
        """
        path = folder / runs.PIPELINE
        content = read_yaml(path)
        with reading(path, "is no pipeline"):
            parts = [*content["retrievers"], content["ranker"]]
            places = [(folder / str(part["run"]), dict(part["files"])) for part in parts]
            plan = cls([run for run, _ in places[:-1]], places[-1][0], content["candidates"], content["blend"])
            if not plan.retrievers:
                raise ValueError("it has no retriever")
        plan.check()
        for run, files in places:
            changed = [name for name in _files_of(run) if files.get(name) != digest_of(run / name)]
            if changed:
                raise RunError(f"{run}: was trained anew since {path} was written ({changed[0]} is another); make the "
                               "pipeline again: python -m recgnn.pipeline")  # fmt: skip
        return plan


def _files_of(run: Path) -> list[str]:
    """Return the files of a run that tell it from any other: its checkpoint, and the checksums of its data."""
    best = runs.best_checkpoint(runs.existing_run(run))
    return [best.relative_to(run).as_posix(), "vocabulary/summary.json"]


class Retrieved(NamedTuple):
    """Candidates of some users, the best first: items [B, N], and their scores [B, N], -inf where there is none."""

    items: Tensor
    scores: Tensor


class TrainedPipeline(TrainedModel):
    """Retrievers and a ranker that are used as one run.

    Several retrievers are merged by reciprocal ranks, which need no common scale of their scores
    (`Cormack et al., 2009 <https://doi.org/10.1145/1571941.1572114>`_, eq. 1):

    .. math:: s(i) = \\sum_r 1 / (60 + \\text{rank}_r(i))

    over those that have the item among their N best; the N best of the sums are the candidates. These are in the order
    of the ranker's probability, or of (1 - w) z(ranker's logit) + w z(retriever's score) with a blend w above 0, where
    z is standardised over the user's candidates. A user whom the ranker does not know has the retriever's order.

    Args:
        run: the run folder, or one to be.
        plan: what it is made of.
        retrievers: the runs that choose candidates; users, items and what users have are the first one's.
        ranker: the run that ranks them.

    Raises:
        ConfigError: if a run is of the wrong kind, or the retrievers are of different data.
    """

    def __init__(self, run: Path, plan: Plan, retrievers: Sequence[TrainedModel], ranker: TrainedModel):
        self.run, self.plan, self.retrievers = Path(run), plan, []
        for one in retrievers:
            if not isinstance(one, TrainedRecommender):
                raise ConfigError(f"--retriever {one.run}: {type(one.model).__name__} scores events; expected a model "
                                  "of interactions, such as EASE or LightGCN")  # fmt: skip
            self.retrievers.append(one)
        if not isinstance(ranker, TrainedCTR):
            raise ConfigError(f"--ranker {ranker.run}: {type(ranker.model).__name__} scores no events; expected a "
                              "model of clicks, such as DeepFM or DIN")  # fmt: skip
        first = self.retrievers[0]
        for other in self.retrievers[1:]:
            if other.prepared.identity != first.prepared.identity:
                raise ConfigError(f"{other.run}: has other users or items than {first.run}; train all retrievers with "
                                  "the same section `data`")  # fmt: skip
        self.ranker, self.model, self.prepared = ranker, ranker.model, first.prepared
        self.users, self.items = first.users, first.items
        self.summary, self.names = first.summary, first.names
        _ = ranker.known  # refuses a run without users and items
        self._goods = torch.from_numpy(ranker.items.encode(pd.Series(self.items.ids)))  # the items' rows there, [I]
        self._people = torch.from_numpy(ranker.users.encode(pd.Series(self.users.ids)))  # the users', [U]

    def before(self, part: str) -> TrainedPipeline:
        """Return the pipeline as it could have answered before `val` or `test`; retrievers know train alone anyway."""
        return TrainedPipeline(self.run, self.plan, self.retrievers, self.ranker.before(part))

    def told_of_users(self) -> str:
        """Return in words what the ranker knows of a user who is given by id alone."""
        ranker, own = self.ranker, [name for name in self.ranker.known.users if name != USER]
        told = f"knows of a user {', '.join(map(str, own))} as in the last event" if own else "knows of a user the id"
        past = ranker.history is not None and ranker.history.columns is None
        return told + (f", and the newest {ranker.history.max_length} items liked" if past and ranker.history else "")

    # ---- stages

    def retrieve(self, users: Tensor, hide: Callable[[Tensor], Tensor]) -> Retrieved:
        """Choose the candidates of users [B] by the retrievers, without the items that `hide` sets to -inf."""
        num = min(self.plan.candidates, len(self.items))
        lists = [self.best_of(one, users, num, hide) for one in self.retrievers]
        if len(lists) == 1:
            return lists[0]
        merged = torch.zeros(len(users), len(self.items))
        for items, scores in lists:
            gain = (1.0 / (CONSTANT + torch.arange(1, num + 1))).expand_as(scores)
            merged.scatter_add_(1, items, gain.masked_fill(scores == -torch.inf, 0))
        found = merged.masked_fill_(merged == 0, -torch.inf).topk(num)
        return Retrieved(found.indices, found.values)

    def best_of(
        self, retriever: TrainedRecommender, users: Tensor, num: int, hide: Callable[[Tensor], Tensor]
    ) -> Retrieved:
        """Choose the best `num` items of one retriever that the ranker knows."""
        scores = hide(retriever.scorer(None)(users, hide)).masked_fill_(self._goods < 0, -torch.inf)
        found = scores.topk(num)
        return Retrieved(found.indices, found.values)

    def rank(self, context: dict[str, Any] | None = None) -> Callable[[Tensor, Retrieved], Tensor]:
        """Return the second stage: a function of users [B] and their candidates to probabilities [B, N], NaN where the
        ranker has none."""
        scores_of = self.ranker.pair_scorer(context)

        def ranked(users: Tensor, candidates: Retrieved) -> Tensor:
            people = torch.where(users < 0, users, self._people[users])
            asked = (candidates.scores > -torch.inf) & (people >= 0)[:, None]
            found = torch.full(asked.shape, torch.nan)
            found[asked] = scores_of(people, asked.nonzero()[:, 0], self._goods[candidates.items[asked]])
            return found

        return ranked

    def ordered(self, candidates: Retrieved, ranked: Tensor, blend: float) -> Tensor:
        """Compute what candidates are ordered by from the answers of both stages, [B, N]; -inf where there is none."""
        known = ~ranked.isnan()
        if blend == 0:
            final = torch.where(known, ranked, _standard(candidates.scores))
        else:
            logits = ranked if self.model.task != "clicks" else ranked.double().logit(1e-12)
            own = _standard(torch.where(known, logits, -torch.inf)).masked_fill(~known, 0)
            final = ((1 - blend) * own + blend * _standard(candidates.scores)).float()
        return final.masked_fill(candidates.scores == -torch.inf, -torch.inf)

    # ---- as any run

    def _length(self, k: int) -> int:
        if k > (num := min(self.plan.candidates, len(self.items))):
            raise ConfigError(f"k is {k}, and the pipeline has {num} candidates; make it with more --candidates")
        return super()._length(k)

    def seen_in(self, *parts: str) -> UserItems:
        return self.retrievers[0].seen_in(*parts)

    def scorer(self, context: dict[str, Any] | None) -> Score:
        """Score the candidates of each user, and nothing else."""
        ranked = self.rank(context)

        def score(users: Tensor, hide: Callable[[Tensor], Tensor]) -> Tensor:
            candidates = self.retrieve(users, hide)
            scores = self.ordered(candidates, ranked(users, candidates), self.plan.blend)
            return torch.full((len(users), len(self.items)), -torch.inf).scatter_(1, candidates.items, scores)

        return score

    def explain(self, user: object, items: object) -> pd.DataFrame:
        """Tell why the ranker gives items their scores (see `TrainedCTR.explain`)."""
        ids = self.items.parse(as_list(items))
        return concatenated([self.ranker.explain(user, item).assign(item=item) for item in ids])

    def similar_items(self, *given: Any, **named: Any) -> pd.DataFrame:
        """List the most similar items of the first retriever (see `TrainedModel.similar_items`)."""
        return self.retrievers[0].similar_items(*given, **named)

    def similarity(self) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
        return self.retrievers[0].similarity()

    def embeddings(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The vectors of the first retriever's users and items."""
        return self.retrievers[0].embeddings()

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with a column prediction, the ranker's."""
        return self.ranker.predict(frame)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with a column score, the ranker's."""
        return self.ranker.score(frame)

    def sizes(self) -> str:
        names = " + ".join(type(one.model).__name__ for one in self.retrievers)
        return f"{self.plan.candidates} candidates of {names}, {len(self.users):,} users, {len(self.items):,} items"


def _standard(scores: Tensor) -> Tensor:
    """Bring the finite scores of each row to mean 0 and deviation 1: [B, N]; others stay as they are."""
    there = scores > -torch.inf
    number = there.sum(1, keepdim=True).clamp(min=1)
    plain = scores.double().masked_fill(~there, 0)
    mean = plain.sum(1, keepdim=True) / number
    deviation = ((plain - mean).masked_fill(~there, 0).square().sum(1, keepdim=True) / number).sqrt()
    return torch.where(there, ((plain - mean) / deviation.clamp(min=1e-12)).to(scores.dtype), scores)
