# Plain `make` lists the targets. The environment is .venv, and for the OpenCode plugin its node_modules; each is made
# once and again when its lock file changes.
PYTHON ?= python3.12
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OPENCODE := producers/opencode
NODE_READY := $(OPENCODE)/node_modules/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo up test soak check bench bench-recall lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) $(NODE_READY) ## make the environment; the first time it compiles the graph server, about two minutes

demo: $(READY) ## run the main job on a recorded OpenCode session; KEEP=1 leaves the system up
	$(BIN)/memlane demo

up: $(READY) ## start the whole system on this machine
	$(BIN)/memlane up

test: $(READY) $(NODE_READY) ## run all tests
	cd $(OPENCODE) && npm test --silent
	$(BIN)/pytest -n 2 --dist loadfile

soak: $(READY) ## 100,000 events while workers and the queue are killed, about two minutes; ARGS="--seed N"
	$(BIN)/python -m tests.faults.soak $(ARGS)

check: $(READY) $(NODE_READY) ## linters, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd $(OPENCODE) && npm run check --silent

bench: $(READY) $(NODE_READY) ## measure, side by side with what one would use instead
	$(BIN)/python -m bench

bench-recall: $(READY) ## how well recall finds: DATA=folder with docs.jsonl[.gz], queries.jsonl[.gz]; DATABASE=postgresql
	@test -n "$(DATA)" || { echo "name the folder: make bench-recall DATA=/path/to/folder" >&2; exit 1; }
	@$(BIN)/python -m bench.recall_quality "$(DATA)" $(if $(DATABASE),--database $(DATABASE)) $(ARGS)

lock: ## pin the dependencies of pyproject.toml anew (needs uv)
	$(UV) pip compile -q --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
		pyproject.toml -o requirements/runtime.txt
	$(UV) pip compile -q --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
		--extra dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || \
		{ echo "Python 3.12 or newer is needed; name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is needed (package gcc or clang): the graph server is compiled" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

$(NODE_READY): $(OPENCODE)/package-lock.json $(OPENCODE)/package.json
	@command -v npm >/dev/null || { echo "npm is needed for the OpenCode plugin (packages nodejs and npm, or https://nodejs.org)" >&2; exit 1; }
	cd $(OPENCODE) && npm ci --loglevel=error
	touch $(NODE_READY)
