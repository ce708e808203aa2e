# Two commands: `make demo` makes a minute of video, `make test` runs the tests. Both begin from a bare Python
# (3.10 to 3.13); what they need is installed once into .venv and left alone until the project files change.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
SEED ?= 7
SECONDS ?= 60
MODEL ?= world
PIP_ARGS ?=
WORKERS ?= 2

IN := $(VENV)/bin/python
STAMP := $(VENV)/installed

.PHONY: demo test slow lint train clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(IN) examples/demo.py --model $(MODEL) --seed $(SEED) --duration $(SECONDS) --out $(OUT)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(IN) -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not gpu"

slow: $(STAMP)
	$(IN) -m pytest -q -m "slow and not gpu"

lint: $(STAMP)
	$(IN) -m ruff check .
	$(IN) -m ruff format --check .
	$(IN) -m pyright

train: $(STAMP)
	$(IN) -m longvie train world --stage all --out runs/world

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else "Python 3.10 to 3.13 is needed, this is %d.%d: try make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(IN) -m pip install --quiet -c constraints.txt $(PIP_ARGS) -e ".[dev,train,eval]"
	@touch $(STAMP)

clean:
	rm -rf $(OUT) .pytest_cache .ruff_cache
