"""`python -m recgnn.benchmark`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("benchmark")
