#!/bin/bash
# On each of two nodes; `head` is the name of the first. A process that ends takes the others with it; started again, they go on
# from last.ckpt, with as many nodes as there are.
run=/shared/runs/lightgcn
go_on=()
[ -f "$run/checkpoints/last.ckpt" ] && go_on=(--ckpt_path last)
torchrun --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint head:29500 \
  -m recgnn.fit --config conf/lightgcn.yaml --run_dir "$run" "${go_on[@]}" \
  --trainer.num_nodes 2 --trainer.devices 8 --trainer.strategy ddp \
  "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1000}}"
