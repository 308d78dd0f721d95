# Every target sets up what it needs and does nothing twice: stamps are keyed on the pinned
# dependencies, so nothing here touches the network once it is set up.
# Names of targets are relative and every path is quoted: the clone may lie in a path with spaces.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt
BASE := .venv/base.stamp
FULL := .venv/full.stamp
WEB := $(if $(wildcard web/package.json),web/node_modules/setup.stamp)
DATA ?=
PYTHON ?=

# Says what it installs, then does so as root or through sudo; elsewhere it asks the user to.
define apt_install
install() { \
	if ! command -v apt-get > /dev/null; then echo "please install: $$*" >&2; exit 1; fi; \
	echo "installing with apt-get: $$*"; \
	as_root=(env DEBIAN_FRONTEND=noninteractive); \
	if [ "$$(id -u)" != 0 ]; then as_root=(sudo "$${as_root[@]}"); fi; \
	"$${as_root[@]}" apt-get update -qq; \
	"$${as_root[@]}" apt-get install -y -qq --no-install-recommends "$$@" > /dev/null; \
}; install
endef

.PHONY: help setup demo test lint format bench docs figures clean system-tools

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup: system-tools $(FULL) $(WEB) ## make .venv with everything for development, and the viewer's packages

demo: $(BASE) ## turn the bundled photo into a 3D scene in out/demo
	$(PY) -m diorama.cli photo src/diorama/data/demo.jpg -o out/demo --formats html,glb
	@echo
	@echo "Open this in a browser and drag:  $(CURDIR)/out/demo/demo.html"
	@echo "For a video:  .venv/bin/diorama render out/demo/demo.diorama -o out/demo/demo.mp4"

test: setup ## run every test; pytest's closing line comes last
	@web=0; \
	if [ -f web/package.json ]; then (cd web && npm test --silent) || web=$$?; fi; \
	python=0; $(PY) -m pytest || python=$$?; \
	if [ $$web != 0 ]; then echo "the web tests failed: see above pytest's output" >&2; fi; \
	exit $$((web | python))

lint: $(FULL) $(WEB) ## check format, style, types, spelling and file sizes
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m basedpyright
	$(PY) -m codespell_lib
	@large=$$(git ls-files -z | while IFS= read -r -d '' f; do \
		most=1048576; case $$f in src/diorama/data/embedded.onnx|training/embedded.pt) most=12000000;; esac; \
		[ ! -f "$$f" ] || [ "$$(wc -c < "$$f")" -le $$most ] || echo "$$f"; done); \
	[ -z "$$large" ] || { echo "larger than 1 MiB (the network: 12 MB), keep it out of the repository:"; echo "$$large"; exit 1; }
	$(if $(WEB),cd web && npm run --silent check)

format: $(FULL) ## put every file into the one format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(FULL) ## run every benchmark; DATA=folder with an index.json, results in out/benchmarks
	@mkdir -p out/benchmarks
	@for file in benchmarks/*.py; do \
		name=$$(basename "$$file" .py); case $$name in common|bilateral_solver|cue_depth) continue;; esac; \
		echo "== $$name"; \
		$(PY) "$$file" $(if $(DATA),--data "$(DATA)") --json "out/benchmarks/$$name.json"; \
	done

docs: $(FULL) ## build the documentation into docs/_build/html, warnings are errors
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open $(CURDIR)/docs/_build/html/index.html"

figures: $(FULL) ## make every figure of the documentation again
	@for file in docs/figures/*.py; do echo "== $$file"; $(PY) "$$file"; done

clean: ## remove everything that was made, the environment included
	rm -rf .venv out build dist docs/_build web/node_modules .pytest_cache .ruff_cache
	find src tests benchmarks docs examples -name __pycache__ -prune -exec rm -rf {} +

# The tests need a browser, Node, and independent readers of what we write; nothing is installed where they are found.
system-tools:
	@missing=(); \
	command -v chromium > /dev/null || missing+=(chromium); \
	command -v node > /dev/null || missing+=(nodejs); \
	command -v npm > /dev/null || missing+=(npm); \
	command -v blender > /dev/null || missing+=(blender); \
	[ "$$(command -v blender || echo /usr/bin/blender)" != /usr/bin/blender ] || /usr/bin/python3 -c 'import numpy' 2> /dev/null || missing+=(python3-numpy); \
	command -v heif-info > /dev/null || missing+=(libheif-examples); \
	command -v exiftool > /dev/null || missing+=(libimage-exiftool-perl); \
	if [ $${#missing[@]} != 0 ]; then $(apt_install) "$${missing[@]}"; fi; \
	node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' || \
		{ echo "Node 20.19 or newer is needed to build and test the viewer, this is $$(node --version)" >&2; exit 1; }

# An environment that works is kept, whoever made it.
.venv/python.stamp:
	@if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then \
		python=$$(for name in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
			if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
				echo "$$name"; break; fi; done); \
		[ -n "$$python" ] || { echo "Python 3.11 or newer is needed; make PYTHON=/path/to/python" >&2; exit 1; }; \
		if ! "$$python" -c 'import ensurepip' 2> /dev/null; then $(apt_install) python3-venv; fi; \
		echo "making .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv; \
	fi
	@touch $@

$(BASE): .venv/python.stamp pyproject.toml constraints.txt
	@echo "installing diorama into .venv"
	@$(PIP) hatchling editables
	@$(PIP) -e .
	@touch $@

$(FULL): .venv/python.stamp pyproject.toml constraints.txt
	@echo "installing diorama and its development tools into .venv"
	@$(PIP) hatchling editables
	@$(PIP) -e '.[convert,diffusion,exr,gpu,heic,models,portrait,dev,docs,bench,train]'
	@touch $(BASE) $@

web/node_modules/setup.stamp: web/package.json web/package-lock.json
	@echo "installing the viewer's packages into web/node_modules"
	@cd web && npm ci --silent --no-fund --no-audit
	@touch $@
