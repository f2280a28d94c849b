#   make environment           install what the other commands need in .venv (they do it themselves)
#   make table1                Table 1 at the default scale, with all runs that it needs
#   make NAME                  any other table or figure, by its notebook: notebooks/NAME.py
#   make plan TABLE=table1     what a table still needs, and how long it takes; without TABLE: everything
#   make tables                every table and figure
#   make imagenet-sample       a few steps of everything on real images of ImageNet
#   make theory                the paper's statements checked, Figures 2 and 3, packing, search spaces
#   make report                one HTML page of everything made so far: results/report.html
#   make repro                 everything at the default scale, cached by DVC
#   make pull                  download the results from DVC's remote instead of making them
#   make docs                  the documentation as a site: results/site/index.html
#   make test                  all tests
#   make check                 formatting, linting, types
#   make bench                 time and memory of a step: results/benchmarks.md, .csv and .svg
#   make evidence              compare the numbers in README.md and docs/ with results/measured/
#   make bench-snapshot        copy the benchmarks to results/measured/benchmarks/
#   make peers                 other tools at the same target and budget: results/peers/peers.md
#   make peers-snapshot        copy that page and its records to results/measured/peers/
#   make gpu-check             on a GPU: tests, stages, kernels and times: results/gpu-check.json
#   make gpu-check-snapshot    copy that record to results/measured/gpu-check/
#   make lock                  new requirements.lock after an edit of pyproject.toml; needs uv
#   make schema                new schema of the scale files after an edit of settings
#   make snapshot              copy tables, figures and run records to results/measured/
#   make restore               put the run records of a snapshot back into results/
#
# Tables, figures, plan, report, snapshot and restore take SCALE=name, for the scale of config/name.yaml.
# CONFIG="config/config.yaml other.yaml" changes single keys of a scale by a second file.
# PYTHON=/path/to/python names the Python for .venv: 3.11 or newer.

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

# Before the first rule, which can be a long installation.
MISSING := $(filter-out $(wildcard $(CONFIG)),$(CONFIG))
ifneq ($(MISSING),)
SCALES := $(filter-out config/claims.yaml,$(sort $(wildcard config/*.yaml)))
$(error no scale file $(MISSING); correct SCALE or CONFIG (scales: $(SCALES)))
endif

EXHIBITS := $(basename $(notdir $(wildcard notebooks/*.py)))

.PHONY: $(EXHIBITS) tables imagenet-sample help environment plan report repro pull docs test check bench bench-snapshot peers peers-snapshot evidence gpu-check gpu-check-snapshot lock schema snapshot restore

help:
	@sed -n -e '/^$$/q' -e 's/^# \{0,1\}//p' Makefile

environment: .venv/installed

# The stamp is made last, so an interrupted installation is repeated.
.venv/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

# A table or figure by the name of its notebook.
$(filter-out theory,$(EXHIBITS)): environment
	$(RUN) snakemake --cores all --configfile $(CONFIG) -- exhibit_$@

tables: environment
	$(RUN) snakemake --cores all --configfile $(CONFIG)

theory: environment
	$(RUN) snakemake --cores all --configfile $(CONFIG) -- \
	  $(addprefix exhibit_,theory fig2 fig3 packing search_space)

imagenet-sample: environment
	$(RUN) snakemake --cores all --configfile config/imagenet-sample.yaml -- exhibit_sample

plan: environment
	@$(RUN) snakemake --dry-run --quiet rules --cores all --configfile $(CONFIG) -- \
	  $(addprefix exhibit_,$(TABLE))

report: environment
	$(RUN) snakemake --configfile $(CONFIG) --reporter sbs --report-sbs-path $(RESULTS)/report.html -- built

repro: environment
	$(RUN) dvc repro

# DVC holds copies of the tables and figures; they go back to their places. Snakemake's records of the
# files show it that they are up to date.
pull: environment
	$(RUN) dvc pull
	cp results/exhibits/tables/* results/exhibits/figures/* results
	mkdir -p .snakemake
	tar --extract --gzip --file results/provenance.tar.gz --directory .snakemake

# Any broken link, reference or cell of the notebook is an error.
docs: environment
	$(RUN) sphinx-build --quiet --fresh-env --fail-on-warning --conf-dir docs . results/site

test: environment
	$(RUN) python -m pytest -n 2

check: environment
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) snakefmt --check workflow
	$(RUN) snakemake --lint

bench: environment
	$(BIN)/python -m pip install --quiet --no-deps --requirement benchmarks/requirements.txt
	$(RUN) python -m benchmarks run

evidence: environment
	$(RUN) python -m sbs.results.evidence

bench-snapshot:
	mkdir -p results/measured/benchmarks
	cp results/benchmarks.csv results/benchmarks.md results/benchmarks.svg results/measured/benchmarks

# The other tools have an environment of their own. It lies on top of .venv, whose packages it sees.
PEERS := .venv-peers/bin
PLINIO ?= plinio @ git+https://github.com/eml-eda/plinio@3d6b5e08b3c7d861620ecc9ab25bff82852f8c7c
EPOCHS ?= 4
PACKAGES := import sysconfig; print(sysconfig.get_path("purelib"))

.venv-peers/installed: .venv/installed benchmarks/requirements.txt benchmarks/peers/requirements.txt
	test -x $(PEERS)/python || $(BIN)/python -m venv .venv-peers
	$(BIN)/python -c '$(PACKAGES)' > "$$($(PEERS)/python -c '$(PACKAGES)')/below.pth"
	$(PEERS)/python -m pip install --no-deps --requirement benchmarks/peers/requirements.txt
	$(PEERS)/python -m pip install --no-deps "$(PLINIO)" || echo "no PLiNIO: the page will say so"
	touch $@

peers: .venv-peers/installed
	$(RUN) $(PEERS)/python -m benchmarks.peers run --epochs $(EPOCHS)

peers-snapshot:
	mkdir -p results/measured/peers
	cp results/peers/*.json results/peers/peers.csv results/peers/peers.md results/measured/peers

gpu-check: environment
	$(RUN) python -m benchmarks.gpu_check

gpu-check-snapshot:
	mkdir -p results/measured/gpu-check
	cp results/gpu-check.json results/measured/gpu-check

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
	  pyproject.toml --output-file requirements.lock

schema: environment
	$(RUN) python -m sbs.config.scale > workflow/schemas/config.schema.json

snapshot: environment
	$(RUN) python -m sbs.results.snapshot save $(RESULTS) results/measured/$(SCALE)
	$(RUN) python -m sbs.results.scoreboard

# Snapshots hold no weights, and missing runs need pretrained weights. Newly made weights are newer
# than the records, so Snakemake would repeat all runs that start from them. So the weights are made
# first, and then the records are written again.
restore: environment
	$(RUN) python -m sbs.results.snapshot restore $(RESULTS) results/measured/$(SCALE)
	$(RUN) snakemake --cores all --configfile $(CONFIG) --until pretrain
	$(RUN) python -m sbs.results.snapshot restore $(RESULTS) results/measured/$(SCALE)
