"""The LightningModules that train any model, one per task; the run folder, callbacks, W&B."""
