"""`python -m recgnn.recommend`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("recommend")
