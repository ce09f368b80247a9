"""`python -m recgnn.validate`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("validate")
