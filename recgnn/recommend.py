"""`python -m recgnn.recommend`."""

from recgnn.cli import entry

if __name__ == "__main__":
    entry("recommend")
