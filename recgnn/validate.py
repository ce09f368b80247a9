"""`python -m recgnn.validate`: measure a trained run on its validation data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recgnn.cli.entry import import_heavy, run
from recgnn.cli.options import is_pipeline

if TYPE_CHECKING:
    from recgnn.cli.measuring import MeasureCLI

HELP = """\
usage: python -m recgnn.validate --run DIR [options]

Measure the best checkpoint of a run on its validation data and print a table of metrics.

  --run DIR                 run folder, as written by python -m recgnn.fit; nothing else is needed. The folder alone
                            will do, too: torchrun takes --run for an option of its own
  --output FILE             also write the metrics to this .json file
  --ckpt_path FILE          measure another checkpoint: best, last or a file
  --trust                   import modules of classes that are not recgnn's own and that the run names, which runs
                            their code
  --training.OPTION VALUE   as --training.ks '[5, 50]' or --training.metrics '[recall, mrr]'
  --data.eval_batch_size N  users or rows measured at once
  --trainer.devices N       with --trainer.strategy ddp: one process per device
  --help_all                list every option, including those of Lightning's Trainer

examples
  python -m recgnn.validate --run runs/lightgcn-ml-100k/1
  torchrun --nproc_per_node 2 -m recgnn.validate runs/lightgcn-ml-100k/1 --trainer.devices 2 --trainer.strategy ddp
  python -m recgnn.validate --run runs/lightgcn-ml-100k/1 --training.ks '[5, 50]' --output metrics.json
"""


def main(argv: list[str]) -> MeasureCLI | None:
    """Run `validate` with the options `argv`.

    Returns:
        The finished command, with its objects `.trainer`, `.model` and `.datamodule`; None for a
        pipeline, and if help was asked for.

    Raises:
        RecGNNError: For a person's mistake.
    """
    if "-h" in argv or "--help" in argv:
        print(HELP, end="")
        return None
    if is_pipeline(argv):
        from recgnn.cli.stages import remeasured

        remeasured("validate", argv)
        return None
    import_heavy("recgnn.cli.measuring")
    from recgnn.cli.measuring import MeasureCLI

    return MeasureCLI("validate", argv)


if __name__ == "__main__":
    run(main)
