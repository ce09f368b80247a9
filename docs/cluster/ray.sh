#!/bin/bash
# On one node of a Ray cluster, or by `ray job submit`: four workers of one GPU each, wherever the cluster has them. Started again, it
# goes on from last.ckpt.
run=/shared/runs/lightgcn
go_on=()
[ -f "$run/checkpoints/last.ckpt" ] && go_on=(--ckpt_path last)
cd /shared && python -m recgnn.fit --config lightgcn --run_dir "$run" "${go_on[@]}" --on ray \
  --trainer.num_nodes 4 --trainer.devices 1 --trainer.strategy ddp \
  "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1000}}"
