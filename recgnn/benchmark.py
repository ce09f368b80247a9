"""`python -m recgnn.benchmark`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("benchmark")
