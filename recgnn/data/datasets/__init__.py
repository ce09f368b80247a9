"""Named public data sets, each a short class."""
