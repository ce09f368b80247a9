"""Events with a label: fields, encoders, histories, negatives, loaders."""
