"""How far sampled neighbourhoods are from all neighbours: the representations of a batch of a trained LightGCN.

    python -m benchmarks.sampled_error runs/s 10,10,10 20,10,5 50,10,3

For each fan-out, the squared error of the representations of a batch of 2,048 positives (drawn with seed 1) over their
squared length, of users and of items, mean of four draws; and CPU seconds of a forward pass.
"""

from __future__ import annotations

import argparse
import time

import torch

import recgnn
from recgnn.nn.layer_sum import layer_sum_hops, layer_sum_rows
from recgnn.nn.sampling import sampled_hops


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("fan_outs", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    run = recgnn.load(given.run)
    model, train = run.model, run.prepared.train
    rows = torch.randint(len(train), (2048,), generator=torch.Generator().manual_seed(1))
    batch = torch.from_numpy(train.user)[rows].unique(), torch.from_numpy(train.item)[rows].unique()
    x = model.user_embedding.weight, model.item_embedding.weight
    whole = layer_sum_rows(model.operator, x, model.alpha, *batch)
    for fan_out in given.fan_outs:
        errors, started = torch.zeros(2), time.process_time()
        for draw in range(4):
            torch.manual_seed(draw)
            (users, items), _, hops = sampled_hops(model.operator, batch, [int(count) for count in fan_out.split(",")])
            found = layer_sum_hops(hops, (x[0][users], x[1][items]), model.alpha)
            pairs = zip(found, whole, strict=True)
            errors += torch.stack([(own - all_).square().sum() / all_.square().sum() for own, all_ in pairs]) / 4
        seconds = (time.process_time() - started) / 4
        print(f"[{fan_out}]: users {errors[0]:.4f}, items {errors[1]:.4f}, {seconds:.3f} s")


if __name__ == "__main__":
    main()
