"""Early termination of bad trials: W&B's hyperband, for Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class Bands(BasePruner):
    r"""W&B's early termination by hyperband (successive halving, after `Li et al., 2018
    <https://arxiv.org/abs/1603.06560>`_), so that a space file means the same to both.

    At the epochs :math:`b_k = \text{min\_iter} \cdot \eta^k` (or :math:`\text{max\_iter} / \eta^k`, :math:`k = 1..s`) a
    trial is compared with what all trials had at that epoch: it goes on if its best value so far reaches the best
    :math:`1/\eta` of them.

    Args:
        min_iter: the epoch of the first look, counted from 1.
        max_iter: instead of it, the epoch that the looks are fractions of.
        eta: the base.
        s: how many looks there are, with `max_iter`.
        strict: compare the value at that epoch instead of the best so far.
    """

    def __init__(
        self, min_iter: int | None = None, max_iter: int | None = None, eta: int = 3, s: int = 1, strict: bool = False
    ):
        self.eta, self.strict = eta, strict
        if max_iter is None:
            self.bands = [min_iter * eta**k for k in range(20)]
        else:
            self.bands = sorted(int(max_iter / eta**k) for k in range(1, s + 1) if max_iter / eta**k >= 1)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        histories = [[sign * v for _, v in sorted(t.intermediate_values.items())] for t in (*others, trial)]
        return self.falls_behind(histories[-1], histories)

    def falls_behind(self, history: Sequence[float], histories: Sequence[Sequence[float]]) -> bool:
        """Return whether a trial is to be given up.

        Args:
            history: its values, one per epoch; lower is better.
            histories: the values of all trials, its own included.
        """
        reached = [band for band in self.bands if band <= len(history)]
        if not reached:
            return False
        values = sorted(h[reached[-1] - 1] for h in histories if len(h) >= reached[-1])
        value = history[reached[-1] - 1] if self.strict else min(history)
        return value > values[int(len(values) / self.eta)]
