"""`python -m recgnn.fit`: train a model, test its best checkpoint and write a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recgnn.cli.entry import import_heavy, run
from recgnn.cli.options import taken

if TYPE_CHECKING:
    from recgnn.cli.fitting import FitCLI, Processes

HELP = """\
usage: python -m recgnn.fit --config FILE [--config FILE …] [--SECTION.OPTION VALUE …]

Train a model, stop when its validation metric no longer improves, test the best checkpoint, write a run folder and
print a table of metrics and the next commands to type.

configuration
  --config FILE             YAML file with the sections below; may be given several times, later files win.
                            conf/ has a complete, commented one for each model
  --print_config            print the resulting configuration and stop
  --seed_everything N       seed of everything that is random in training (default: 42)

sections: in YAML, or as options with dotted names, which win over files
  --data CLASS              GraphDataModule (users and items) or CTRDataModule (events with fields)
  --data.source CLASS       where the data come from: TableLog, EventTable, MovieLens100K, Criteo …
  --data.filters LIST       KCore, MinRating, Deduplicate …
  --data.split CLASS        RatioSplit, LeaveOneOut, TemporalSplit, DailySplit or GivenSplit
  --data.batch_size N       rows per training step
  --screen false            CTRDataModule: do not look, before training, for fields that give the label away
  --model CLASS             the architecture: LightGCN, NGCF, MF, AutoRec, DeepFM, DIN …, or a class of your own by its
                            dotted path
  --model.OPTION VALUE      as --model.embedding_dim 128
  --training CLASS          the task: RankingTraining, RatingTraining, ClickTraining or RegressionTraining (default: the
                            first task of the model)
  --training.calibrate platt  clicks: a line (or `isotonic`) on the logits, fitted on validation and kept with the model
  --training.OPTION VALUE   loss, negatives, regularisation, learning rate, metrics: --training.lr 1e-3,
                            --training.loss BPR, --training.ks '[10, 20]'
  --optimizer, --lr_scheduler CLASS
                            in place of the task's own optimizer: --optimizer SGD --optimizer.lr 0.1

run folder
  --run_dir DIR             where the run is written (default: runs/<model>-<data>/<number>)
  --overwrite true          replace the run in --run_dir
  --ckpt_path last          continue the run in --run_dir, or the latest one
  --from_run DIR            start from another run: its users, items and values keep what was learnt, and the state of
                            the optimizer, by id; new ones get rows of their own. The data section names the log so far:
                            all of its train part is the graph, the histories and what users have; trained on is what
                            that run was not trained on (clicks: what is later; all, where the split does not go by
                            time). A log of the new days alone works, too, and is all the graph then. Models in closed
                            form are solved anew. Numbers keep the scale and bins of that run
  --refit true              choose the number of epochs on validation data, then train on training and validation data
                            together for that many epochs, and test that once
  --baselines true          rankings: fit EASE (or GraphFilter) and ItemKNN too, with settings chosen on validation, and
                            show them beside the model; false: the most popular items alone, which are always there;
                            when left out EASE with its usual l2, too, where it takes 5 seconds or less, on logs of at
                            most some 6,000 items and a million rows
                            clicks: LR, and LightGBM where it is installed; the constant rate is always there
  --trials N                how many configurations were tried before this one was chosen, which compare tells beside
                            its figures; the best.yaml of tune says it
  --log_checkpoints true    send the best and the last checkpoint to W&B, as an artifact that is a run folder

trainer (of PyTorch Lightning)
  --trainer.max_epochs N    at most so many epochs (default: 300)
  --trainer.devices N       with --trainer.strategy ddp: one process per device
  --trainer.strategy sharded  MF, LightGCN, NGCF, GCN: rows of users and items divided over the processes
  --trainer.strategy torchrec  models of clicks: rows of tables divided over the processes (extra torchrec)
  --on ray                  on the Ray cluster that this machine belongs to (or ray:HOST:PORT; extra ray): devices times
                            num_nodes workers, which go on from last.ckpt when one is lost; --run_dir where all nodes
                            see it
  --trainer.accelerator A   cpu, gpu … (default: auto)
  --trainer.precision P     bf16-mixed halves the memory and time of large models
  --trainer.logger false    no W&B (which needs no account: runs are logged offline)
  --trainer.callbacks LIST  in place of early stopping and the best checkpoint with their defaults

examples
  python -m recgnn.fit --config conf/lightgcn.yaml --model.embedding_dim 128 --run_dir runs/a
  python -m recgnn.fit --config conf/lightgcn.yaml --run_dir runs/a --ckpt_path last
  python -m recgnn.fit --config conf/lightgcn.yaml --data.split DailySplit --from_run runs/a --run_dir runs/b
  python -m recgnn.fit --config conf/mf.yaml --training RatingTraining --data.source TableLog \\
      --data.source.path ratings.csv

more
  --model.help LightGCN, --training.help RankingTraining, --data.help GraphDataModule, --data.source.help TableLog …
                            explain the options of a class
  --help_all                list every option of every section, including Lightning's Trainer
"""


def main(argv: list[str], processes: Processes | None = None) -> FitCLI | None:
    """Run `fit` with the options `argv`.

    Args:
        argv: The options.
        processes: Those of the run, where something else has started them.

    Returns:
        The finished command, with its objects: `.trainer`, `.datamodule`, `.model` (the training; the plain model is
        its `.model`) and `.run_dir`; None if help was asked for, or where it ran elsewhere (`--on ray`).

    Raises:
        RecGNNError: For a person's mistake.
    """
    if "-h" in argv or "--help" in argv:
        print(HELP, end="")
        return None
    on, argv = taken(argv, "on")
    if on is not None and "--print_config" not in argv:
        from recgnn.cli import on_ray

        on_ray.fit(argv, on)
        return None
    import_heavy("recgnn.cli.fitting")
    from recgnn.cli.fitting import FitCLI

    argv = [f"--data.{word[2:]}" if word.partition("=")[0] == "--screen" else word for word in argv]
    cli = FitCLI(argv, processes=processes)
    if cli.stage == "select" and cli.best_epoch is not None:  # the first half of --refit
        again = [f"--trainer.max_epochs={cli.best_epoch + 1}", "--data.init_args.merge_val=true"]
        return FitCLI([*argv, *again], cli, processes)
    return cli


if __name__ == "__main__":
    run(main)
