"""`python -m recgnn.tune`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("tune")
