"""`python -m recgnn.recommend`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("recommend")
