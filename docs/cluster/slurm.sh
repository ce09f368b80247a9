#!/bin/bash
#SBATCH --job-name=recgnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --requeue
# Started again after a failure or a preemption, it goes on from last.ckpt, inside the epoch.
run=/shared/runs/lightgcn
go_on=()
[ -f "$run/checkpoints/last.ckpt" ] && go_on=(--ckpt_path last)
srun python -m recgnn.fit --config conf/lightgcn.yaml --run_dir "$run" "${go_on[@]}" \
  --trainer.num_nodes 2 --trainer.devices 8 --trainer.strategy ddp \
  "--trainer.callbacks+={class_path: ModelCheckpoint, init_args: {every_n_train_steps: 1000}}"
