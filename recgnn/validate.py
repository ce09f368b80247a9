"""`python -m recgnn.validate`."""

from recgnn.cli import entry

if __name__ == "__main__":
    entry("validate")
