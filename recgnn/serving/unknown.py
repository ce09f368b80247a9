"""Rows with values that a run's training data do not have: counted by field, and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

FAR = 0.1  # a share is far above the usual one when it exceeds twice that by so much, in more than one row


class Unknown:
    """Counts the rows that have unknown values.

    Args:
        usual: The share of such rows in the run's validation part, by field.
    """

    def __init__(self, usual: Mapping[str, float]) -> None:
        self.usual, self.rows = usual, 0
        self.counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int], rows: int) -> None:
        """Count some more rows."""
        self.counts.update(counts)
        self.rows += rows

    def _told(self, fields: list[str]) -> str:
        shares = [f"{name} {self.counts[name] / self.rows:.1%} ({self.usual.get(name, 0):.1%})" for name in fields]
        return ", ".join(shares)

    def line(self) -> str:
        """Return the shares of all fields with unknown values as one line; "" where there is none."""
        found = [name for name, count in self.counts.items() if count]
        told = "rows with values that are not in the training data (in validation)"
        return f"{told}: {self._told(found)}" if found else ""

    def warning(self) -> str:
        """Return one line about the fields whose share is far above the usual one; "" where there is none."""
        least = {name: max(1, (FAR + 2 * self.usual.get(name, 0)) * self.rows) for name in self.counts}
        far = [name for name, count in self.counts.items() if count > least[name]]
        if not far:
            return ""
        return (
            f"far more rows than in validation have values that are not in the training data: {self._told(far)}; are "
            "these fields written as there?"
        )
