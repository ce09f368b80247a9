"""Breaks the library in many small ways, one at a time, and tells which of them the tests notice.

    python -m tests.tools.mutants [--jobs 2] [--only PART_OF_A_NAME]

Each mutant is one change of one line in a copy of the package, in all rooms; the tests of its file and those named
beside it are run on the copy, in a fork. A mutant that no test notices survives. The last line counts them; the exit code is 1 where one survives that is
not explained in EXPLAINED, or where a line to change is no longer there.
"""

# ruff: noqa: E501 (a mutant is a line)
from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A change: file in recgnn/, the text, what takes its place, and the tests that may notice."""

    file: str
    text: str
    instead: str
    tests: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.text.strip()} -> {self.instead.strip()}"


MODELS, NN, TRAINING = "tests/models", "tests/nn", "tests/training/test_recommenders.py tests/models"
METRICS, DATA, CLICKS, SERVING = "tests/evaluation/metrics", "tests/data/interactions", "tests/data/clicks", "tests/serving"
MUTANTS = [
    # nn: propagation, losses, layers, optimizers
    Mutant("nn/propagation.py", 'if norm.startswith("sym"):\n            weight_u', "if True:\n            weight_u", f"{NN} {MODELS}"),
    Mutant("nn/propagation.py", "loops = 1 if norm.endswith", "loops = 0 if norm.endswith", f"{NN} {MODELS}"),
    Mutant("nn/propagation.py", "keep_i = keep_u[self.item_to_user_order]", "keep_i = keep_u", NN),
    Mutant("nn/layer_sum.py", "[alpha[..., None, None] * grad for grad in grads]", "[alpha[..., None, None] * 0 + grad for grad in grads]", f"{NN} {MODELS}"),
    Mutant("nn/layer_sum.py", ".mul_(x.sign())", "", NN),
    Mutant("nn/layer_sum.py", "out_user + weight * user", "out_user + user", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "F.softplus(negative - positive[:, None]).mean(1)", "F.softplus(negative - positive[:, None]).sum(1)", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "positive = positive - positive_log_q", "positive = positive + positive_log_q", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "again = items[: diagonal.numel(), None] == items", "again = items[: diagonal.numel(), None] < 0", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "negative.masked_fill(positives[:, None] == negatives, -torch.inf)", "negative", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "total = scores.square().sum() + (1 - 2 * ones).sum()", "total = scores.square().sum() + (1 - ones).sum()", f"{NN} {MODELS}"),
    Mutant("nn/losses.py", "if self.cosine:", "if False:", f"{NN} {MODELS}"),
    Mutant("nn/contrastive.py", "own == items", "own < 0", NN),
    Mutant("nn/contrastive.py", "self.tau2 * others", "others", NN),
    Mutant("nn/contrastive.py", ".clamp(min=-1 / self.tau1)", "", NN),
    Mutant("nn/contrastive.py", "powers.sum() - powers.trace()", "powers.sum()", NN),
    Mutant("nn/optimizers.py", "rate = group[\"lr\"] * (1 - second**step) ** 0.5 / (1 - first**step)", "rate = group[\"lr\"]", NN),
    Mutant("nn/optimizers.py", "gradient.square().mean(1)", "gradient.square().sum(1)", NN),
    Mutant("nn/folding.py", "DAMPING = 5.0", "DAMPING = 0.0", f"{NN} tests/serving"),
    Mutant("nn/sequence.py", "past + difference, product", "past - difference, product", f"{NN} {MODELS}"),
    Mutant("nn/segments.py", "powers = (scores - top.index_select(0, segments.index)).exp()", "powers = scores.exp()", NN),
    # models
    Mutant("models/lightgcn.py", "[1 / (num_layers + 1)]", "[1 / num_layers]", MODELS),
    Mutant("models/xsimgcl.py", "item[:, positives].unbind()", "item.unbind()", MODELS),
    Mutant("models/xsimgcl.py", "self.noise if self.training else 0.0", "self.noise", MODELS),
    Mutant("models/pitf.py", ' + self.get_buffer("starts")', "", MODELS),
    Mutant("data/interactions/compound.py", ">= 0).all(1)", ">= 0).any(1)", DATA),
    Mutant("models/gcn.py", "if conv is not self.convs[0]:\n                x = each_side(lambda e: self.dropout", "if False:\n                x = each_side(lambda e: self.dropout", MODELS),
    Mutant("models/ngcf.py", "each_side(F.normalize, x)", "x", MODELS),
    Mutant("models/mf.py", "(user * item).sum(1) + self.mean, [", "(user * item).sum(1), [", MODELS),
    Mutant("models/autorec.py", "F.dropout(csr.weight, self.input_dropout)", "csr.weight", MODELS),
    Mutant("models/dae.py", "count.sqrt()", "count", MODELS),
    Mutant("models/cdae.py", "whole = [*self.weights(), self.first.bias, self.decoder_bias]", "whole = [*self.weights(), self.decoder_bias]", MODELS),
    Mutant("models/ctr.py", "ids[values != 0]", "ids", MODELS),
    Mutant("models/poly2.py", "values[:, self.index.left] * values[:, self.index.right]", "values[:, self.index.left]", MODELS),
    Mutant("models/din.py", "vectors.history * self.weights(vectors)[:, None]", "vectors.history", MODELS),
    Mutant("models/bst.py", "/ segments.lengths[:, None]", "/ segments.lengths.max()", MODELS),
    # training
    Mutant("training/base.py", "if not torch.as_tensor(self.total).isfinite():", "if False:", "tests/training"),
    Mutant("training/base.py", "loss = loss + self.penalty(batch, outputs)", "loss = loss - self.penalty(batch, outputs)", TRAINING),
    Mutant("training/recommenders.py", "items.masked_fill(best == -torch.inf, self.model.num_items)", "items", "tests/training tests/evaluation tests/models"),
    Mutant("training/recommenders.py", "counts.clamp(min=1).double()", "counts.double()", TRAINING),
    Mutant("training/clicks.py", "/ batch.labels.numel()", "", "tests/training tests/models"),
    Mutant("training/run_folder.py", "if (damaged := archive.testzip()) is not None:", "if False:", "tests/training/test_run_folder.py"),
    # data
    Mutant("data/interactions/sampling.py", "t = t + torch.where(none_left, 0, shift)", "t = t", f"{DATA}/test_sampling.py"),
    Mutant("data/interactions/sampling.py", "clamp(min=1) ** alpha", "clamp(min=1)", f"{DATA}/test_sampling.py"),
    Mutant("data/shard.py", "yield rows[self.rank :: self.world]", "yield rows", "tests/data/test_shard.py"),
    Mutant("data/shard.py", "min(step * width, rows - least)", "min(step * width, rows)", "tests/data/test_shard.py"),
    Mutant("data/clicks/disk_order.py", "order[max(0, first - start) :]", "order", "tests/data/clicks/test_disk_order.py"),
    Mutant("data/interactions/loaders.py", "None if self.negatives is None else self.negatives(rows[place], own)", "None", f"{DATA}/test_loaders.py {DATA}/test_module.py tests/models"),
    Mutant("data/interactions/module.py", 'if part == "test" and not', 'if part == "none" and not', DATA),
    Mutant("data/shard.py", "% (2**61 - 1)", "% (2**31 - 1)", "tests/data"),
    Mutant("data/interactions/split.py", "key = random_keys(frame, self.seed)\n        rank, count", "key = random_keys(frame, 0)\n        rank, count", DATA),
    Mutant("data/readers/notation.py", 'and not self.stated):', "):", "tests/data/readers"),
    Mutant("data/readers/times.py", "(kept) > 1", "(kept) > 9", "tests/data/readers"),
    Mutant("data/readers/quotes.py", "== position + 1", "== position + 2", "tests/data/readers tests/faults/test_reader.py"),
    Mutant("data/clicks/encoders.py", "whole // 3600 % 24", "whole // 3600 % 12", CLICKS),
    # serving and exported programs
    Mutant("serving/trained.py", "scores[unknown] = self.popularity", "pass", f"{SERVING}/test_clicks.py {SERVING}"),
    Mutant("serving/trained.py", 'self.summary.get("repeats") == "keep"', "True", f"{SERVING}/test_frames.py {SERVING}"),
    Mutant("serving/candidates.py", 'exclude_seen="train"', 'exclude_seen="none"', f"{SERVING}/test_pipeline.py {SERVING} tests/data"),
    Mutant("serving/histories.py", "if not np.isfinite(values).all():", "if False:", SERVING),
    Mutant("serving/exporting/score.py", "bisect.bisect_left(x, t)", "bisect.bisect_right(x, t)", f"{SERVING}/exporting"),
    Mutant("serving/exporting/score.py", "np.sign(values) * np.log1p(np.abs(values))", "np.log1p(np.abs(values))", f"{SERVING}/exporting"),
    # comparison
    Mutant("comparison/significance.py", "stats.wilcoxon(difference)", "stats.wilcoxon(abs(difference))", "tests/comparison"),
    Mutant("comparison/significance.py", "parts = [(one[part] - other[part]).dropna()", "parts = [(one[part] - other[part]).fillna(0)", "tests/comparison"),
    # evaluation
    Mutant("evaluation/metrics/ties.py", "* (1 + ties.before)", "* ties.before", METRICS),
    Mutant("evaluation/metrics/ranking.py", "ideal[label_count.clamp(1, k) - 1]", "ideal[k - 1]", METRICS),
    Mutant("evaluation/metrics/clicks.py", "- positive * (positive + 1) / 2", "- positive * positive / 2", METRICS),
    # files
    Mutant("files.py", "and not _alive(", "and _alive(", "tests/test_files.py"),
]
EXPLAINED: dict[str, str] = {}


LIBRARIES = ("torch", "lightning.pytorch.cli", "torch_geometric", "torchmetrics", "pandas", "scipy.stats", "hypothesis",
             "matplotlib.backends.backend_agg", "jsonargparse", "pyarrow.parquet")  # fmt: skip


def outcome(mutant: Mutant) -> str:
    """Run the mutant's tests, those of its own file first: `killed`, `survived`, or `stale` where its text is not there."""
    with tempfile.TemporaryDirectory(prefix="recgnn-mutant-") as folder:
        copy = Path(folder)
        for name in ("recgnn", "tests", "conf", "docs", "notebooks"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
            shutil.copy(ROOT / name, copy)
        file = copy / "recgnn" / mutant.file
        content = file.read_text(encoding="utf-8")
        if content.count(mutant.text) != 1:
            return "stale"
        file.write_text(content.replace(mutant.text, mutant.instead), encoding="utf-8")
        own = (Path("tests") / mutant.file).with_name(f"test_{file.name}")
        for tests in ([str(own)] * (copy / own).is_file(), mutant.tests.split()):
            code = tested(copy, tests) if tests else 0
            if code:
                return "killed" if code == 1 else f"error {code}"
        return "survived"


def tested(copy: Path, tests: list[str]) -> int:
    """Run tests of a copy in a fork, which has imported what they need but recgnn; returns pytest's exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        os.setsid()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        os.chdir(copy)
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "recgnn")]:
            del sys.modules[name]
        os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        sys.dont_write_bytecode = True
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={copy / 'temporary'}", *tests])
        os._exit(int(code))
    finally:
        os._exit(70)  # pytest itself has failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default: 2)")
    parser.add_argument("--only", default="", help="a part of the name of the mutants to run")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only in m.name]
    counts: dict[str, int] = {}
    started = time.monotonic()
    for name in LIBRARIES:
        import_module(name)
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, found in zip(chosen, pool.map(outcome, chosen), strict=True):
            counts[found] = counts.get(found, 0) + 1
            print(f"{found:9} {' '.join(mutant.name.split())} {EXPLAINED.get(mutant.name, '')}", flush=True)
    told = ", ".join(f"{count} {found}" for found, count in sorted(counts.items()))
    print(f"{len(chosen)} mutants: {told}; {time.monotonic() - started:.0f} s")
    return int(set(counts) - {"killed"} != set())


if __name__ == "__main__":
    sys.exit(main())
