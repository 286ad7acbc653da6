# make demo    create .venv and run the main job into demo/
# make test    create .venv with the developers' tools and run every check, as CI does
#
# PYTHON=python3.12 chooses the interpreter (3.11 or newer); UV= ignores an installed uv; JOBS=8 sets pytest's workers.

PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null)
JOBS ?= 2

BIN := .venv/bin

.PHONY: demo test lint layering types check pytest docs-check clean
.NOTPARALLEL:

demo: .venv/.installed
	$(BIN)/pdlt demo -o demo

# pytest comes last, so that its summary closes the output.
test: lint types layering check pytest

lint: .venv/.installed-dev
	$(BIN)/ruff check .

types: .venv/.installed-dev
	$(BIN)/mypy

layering: .venv/.installed-dev
	$(BIN)/lint-imports

# The claims as tests, a file per worker; `pdlt check derivations/` runs the same one after the other.
CLAIMS := -p pdlt.checks.pytest_plugin -o pdlt_derivations=derivations

check: .venv/.installed-dev
	$(BIN)/pytest -q $(CLAIMS) -n $(JOBS) --dist loadfile derivations/

pytest: .venv/.installed-dev
	$(BIN)/pytest -n $(JOBS)

docs-check: .venv/.installed-dev
	$(BIN)/pytest -k docs tests/test_project.py

clean:
	rm -rf .venv demo report dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp is touched when its step has ended well, so an interrupted step is simply done again.

define INSTALL
@echo "Installing pdlt[$(1)] into .venv ..."
@if [ -n "$(UV)" ]; then \
    "$(UV)" pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(1)]'; \
else \
    $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(1)]'; \
fi
@touch $@
endef

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "pdlt needs Python 3.11 or newer, but $(PYTHON) is older or missing. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@echo "Creating .venv ..."
	@rm -rf .venv
	@if [ -n "$(UV)" ]; then "$(UV)" venv --quiet --python "$(PYTHON)" .venv; else $(PYTHON) -m venv .venv; fi
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/.created
	$(call INSTALL,plot)

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/.created
	$(call INSTALL,plot$(comma)dev)

comma := ,
