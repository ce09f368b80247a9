"""`python -m recgnn <command>`."""

from recgnn.cli import console

if __name__ == "__main__":
    console()
