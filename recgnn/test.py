"""`python -m recgnn.test`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("test")
