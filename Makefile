# Two commands: `make demo` makes a minute of video, `make test` runs the tests. Both begin from a bare Python
# (3.10 to 3.13); what they need is installed once into .venv and left alone until the project file changes.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/installed
SEED ?= 7
SECONDS ?= 60
OUT ?= out

.PHONY: demo test slow lint train clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(VENV)/bin/python examples/demo.py --seed $(SEED) --duration $(SECONDS) --out $(OUT)

test: $(STAMP)
	$(RUN) pytest -q -m "not slow and not gpu"

slow: $(STAMP)
	$(RUN) pytest -q -m "slow and not gpu"

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) pyright

train: $(STAMP)
	$(VENV)/bin/longvie train world --stage all --out runs/world

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else "Python 3.10 to 3.13 is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,train,eval]"
	touch $(STAMP)

clean:
	rm -rf $(OUT) .pytest_cache .ruff_cache
