# make table1              Table 1 at the default scale, from nothing
# make table1 SCALE=name   the same at config/name.yaml
# make test                all tests        make check   formatting, linting, types
# make lock                new lock         make schema  new config schema
# make snapshot SCALE=name copy tables and run records to results/measured/name/
# make restore SCALE=name  put the run records of a snapshot back

PYTHON ?= python3
SCALE ?= digits
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

ifeq ($(SCALE),digits)
CONFIG := config/config.yaml
RESULTS := results
else
CONFIG := config/$(SCALE).yaml
RESULTS := results/$(SCALE)
endif

.PHONY: table1 test check lock schema snapshot restore environment

table1: environment
	$(RUN) snakemake --cores all --configfile $(CONFIG) $(RESULTS)/table1.csv

test: environment
	$(RUN) python -m pytest -n 2

check: environment
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) snakefmt --check workflow
	$(RUN) snakemake --lint

environment: .venv/installed

# The stamp is made last, so that an interrupted installation is done again.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  pyproject.toml --output-file requirements.lock

schema: environment
	$(RUN) python -m sbs.config > workflow/schemas/config.schema.json

snapshot: environment
	$(RUN) python -m sbs.snapshot save $(RESULTS) results/measured/$(SCALE)

restore: environment
	$(RUN) python -m sbs.snapshot restore $(RESULTS) results/measured/$(SCALE)
