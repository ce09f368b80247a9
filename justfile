# The commands of CONTRIBUTING.md: just <name>; `just` lists them.

default:
    @just --list

# install for development, by the tested versions
install:
    pip install -c constraints.txt -e ".[dev]"

# the whole suite, or a part: just test tests/models
test *part:
    python -m pytest -q -n 2 --dist loadfile {{part}}

# the tests that take longest, which `just test` leaves out
long:
    python -m pytest -q -n 2 --dist loadfile -m long

# breaks the library in many ways, one at a time: does a test notice?
mutants:
    python -m tests.tools.mutants

# ruff and mypy
lint:
    ruff check . && mypy

# bad inputs, flipped bits, crashes and kills
faults minutes="30":
    python -m tests.faults --minutes {{minutes}}

# a wheel and an sdist in dist/, and whether they hold the same
build:
    python -m build && .ci/same_wheel dist

# the manual in site/, without a warning and with every link checked; `just docs serve` shows it while it is written
docs *how:
    NO_MKDOCS_2_WARNING=1 mkdocs {{ if how == "" { "build" } else { how } }}

# what ruff, mypy and the notebooks' strip do before each commit
hooks:
    pre-commit run --all-files

# all that CI does, in a fresh environment
ci:
    .ci/run
