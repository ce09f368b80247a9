"""`python -m recgnn.similar`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("similar")
