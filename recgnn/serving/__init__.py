"""A finished run put to use: load, recommend, predict, fold in, export."""
