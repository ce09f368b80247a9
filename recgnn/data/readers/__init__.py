"""Files to frames: one reader of separated text and Parquet for training, prediction, items and histories."""
