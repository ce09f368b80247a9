"""`python -m recgnn.tune`."""

from recgnn.entry import entry

if __name__ == "__main__":
    entry("tune")
