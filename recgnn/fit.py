"""`python -m recgnn.fit`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("fit")
