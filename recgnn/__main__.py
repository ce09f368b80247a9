"""`python -m recgnn <command>`."""

from recgnn.cli.entry import console

if __name__ == "__main__":
    console()
