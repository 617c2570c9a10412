# Everything that a checkout can do. Needs git, make and Debian's python3; tools/setup.sh gets the rest.

# Debian's own Python where there is one: it is what a mail server runs.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help try test bench lint lint-role format molecule clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' $(MAKEFILE_LIST) | expand -t 16
	@echo 'make bench LOG=… LINES=… RUNS=… takes another log, multiplied, so many times.'
	@echo 'make try LOG=/var/log/mail.log looks at a log of yours instead of the sample.'

try: .venv/try.stamp ## Import a sample log into a database of its own and show what there is to see
	@$(PY) tools/try.py report

test: lint lint-role ## Lint, types, all tests, also against PostgreSQL, and the role on Debian 12 and 13 where containers can run
	@$(PY) -m pytest
	@molecule/test --if-possible --torture default

molecule: .venv-molecule/stamp ## The role in all its scenarios, in containers with systemd (needs root)
	@molecule/test default fleet upgrade

lint: .venv/test.stamp ## What is checked of the program without running it
	@$(PY) -m ruff check --quiet --output-format concise
	@$(PY) -m ruff format --check --quiet
	@$(PY) -m mypy --no-error-summary
	@$(PY) -m yamllint --strict .
	@$(PY) -m sqlfluff lint --nocolor --disable-progress-bar files

lint-role: .venv-molecule/stamp ## What is checked of the role and the playbooks without running them
	@molecule/run ansible-lint -qq --nocolor

bench: .venv/test.stamp ## The program beside its peers and beside COPY, on the same log: a table of medians
	@$(PY) bench/compare.py $(if $(LOG),'$(LOG)') $(if $(LINES),--lines $(LINES)) $(if $(RUNS),--runs $(RUNS))

format: .venv/test.stamp ## Bring the code into its form
	@$(PY) -m ruff check --fix-only --quiet
	@$(PY) -m ruff format --quiet

clean: ## Throw away what the other targets made: the virtual environment, the database of `make try`, caches
	@tools/setup.sh clean

.venv-molecule/stamp: tools/setup.sh requirements-molecule.txt
	@PYTHON='$(PYTHON)' tools/setup.sh molecule
	@touch $@

.venv/%.stamp: tools/setup.sh requirements-dev.txt requirements-postgres.txt
	@PYTHON='$(PYTHON)' tools/setup.sh $*
	@touch $@
