# The commands of CONTRIBUTING.md: just <name>; `just` lists them.

default:
    @just --list

# install for development, by the tested versions
install:
    pip install -c constraints.txt -e ".[dev]"

# the whole suite, or a part: just test tests/models
test *part:
    python -m pytest -q -n 2 --dist loadfile {{part}}

# ruff and mypy
lint:
    ruff check . && mypy

# bad inputs, flipped bits, crashes and kills
faults minutes="30":
    python -m tests.faults --minutes {{minutes}}

# a wheel and an sdist in dist/
build:
    python -m build

# all that CI does, in a fresh environment
ci:
    .ci/run
