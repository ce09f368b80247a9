"""`python -m recgnn.validate`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("validate")
