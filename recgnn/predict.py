"""`python -m recgnn.predict`."""

from recgnn.cli.entry import entry

if __name__ == "__main__":
    entry("predict")
