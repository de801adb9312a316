# make demo: set up, run the bundled model on a real recording, draw build/demo.png
# make test: set up, lint, check types, run the tests but the slow ones
# make test-slow: run the tests that make test leaves out, because they take long
# make test-jetpack6, test-oldest, test-device: test with other versions, each in an environment of its own
# make test-triton, test-homeassistant: test against a real Triton Inference Server and a real Home Assistant
# make model: train the bundled model again, from the recordings of public packages
# make aarch64: run the detector and its tests on an emulated aarch64

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -u -m pip --disable-pip-version-check install --progress-bar off
# Of what pip says, a line for each file that it fetches, with its size; errors go to stderr, and its exit status counts.
BRIEFLY := | sed -u -nE 's/^ *(Downloading|Using cached) ([^ ]+\.(whl|gz) .*)/      \2/p; s/^Installing collected .*/      installing …/p'
SHELL := bash
.SHELLFLAGS := -o pipefail -c
DEMO := tests/data/recordings/farmyard.flac
FOLDERS := htsat_edge runtime evaluation calibration export htsat configs
# The package is installed as a tree of links to these folders, which is made again when a file comes or goes.
TREE := $(VENV)/.tree-$(shell find $(FOLDERS) -type f -not -path '*/__pycache__/*' -not -path '*/engines/*' | sort | cksum | cut -d' ' -f1)
EDITABLE := --config-settings editable_mode=strict

# For the tests: what is installed, and a file of constraints for pip.
TORCH := torch==2.13.0
EXTRAS := export,calibration,plot,train,web,test
CONSTRAINTS :=
CONSTRAINED := $(CONSTRAINTS:%=--constraint %)

.PHONY: demo test suite test-slow test-jetpack6 test-oldest test-device test-triton test-homeassistant lint model aarch64 clean compiler programs

demo: COST := about 110 MB to download, 460 MB on disk, one to two minutes
demo: $(VENV)/.demo $(TREE)
	@mkdir -p build
	@echo "==> The events of $(DEMO)"
	@$(BIN)/htsat-edge detect $(DEMO) --truth $(DEMO:.flac=.csv) --plot build/demo.png
	@echo "The picture is in build/demo.png. Next, a recording of yours: $(BIN)/htsat-edge detect FILE"
	@echo "or the live page, with this recording played in real time: $(BIN)/htsat-edge web --demo"

# Two files of tests at a time: many wait for real time to pass.
BESIDE := --numprocesses 2 --dist loadfile
test: lint suite

suite: $(VENV)/.test $(TREE) programs
	$(BIN)/python -m pytest -m "not slow" $(BESIDE)

test-slow: lint programs
	$(BIN)/python -m pytest -m slow

# A kept environment is never taken for that of another Python.
RELEASE = $(shell $(PYTHON) -c 'import sys; print("-%d.%d" % sys.version_info[:2])')

# Python 3.10, which JetPack 6 has, gets no newer versions of what these constraints name.
test-jetpack6:
	$(MAKE) test VENV=.venv-jetpack6$(RELEASE) CONSTRAINTS=tests/constraints/jetpack6.txt

# The least that setup.py asks for; ruff and mypy are for the newest. An old matplotlib uses what new libraries deprecate.
test-oldest:
	PYTEST_ADDOPTS="-W ignore::DeprecationWarning" $(MAKE) suite VENV=.venv-oldest$(RELEASE) CONSTRAINTS=.venv-oldest$(RELEASE)/minima.txt

# As on a device, without torch: tests that need it are left out, or skipped, and say so.
test-device:
	$(MAKE) suite VENV=.venv-device$(RELEASE) TORCH= EXTRAS=calibration,plot,web,test \
		COST="1.3 GB on disk, two minutes or more"

# The server of nvidia-pytriton has Python's backend only, for the system's own python3 and numpy 1.
TRITON := .venv-triton
test-triton: $(VENV)/.test $(TREE) $(TRITON)/.ready
	HTSAT_EDGE_TRITON=$(TRITON) $(BIN)/python -m pytest tests/export/triton_models tests/runtime/models/backends/test_remote_triton.py

$(TRITON)/.ready:
	@echo "==> Triton Inference Server in $(TRITON): about 700 MB on disk"
	@/usr/bin/python3 -m venv $(TRITON)
	@$(TRITON)/bin/python -u -m pip --disable-pip-version-check install --progress-bar off nvidia-pytriton==0.7.0 \
		"numpy<2" scipy soxr soundfile sounddevice "onnxruntime>=1.23,<1.24" "pydantic>=2.7" PyYAML "rich>=14.3" $(BRIEFLY)
	@touch $@

# Home Assistant wants fixed versions of much, and a new Python.
HOMEASSISTANT := .venv-homeassistant
HOMEASSISTANT_PYTHON ?= python3.13
test-homeassistant: $(VENV)/.test $(TREE) programs $(HOMEASSISTANT)/.ready
	HTSAT_EDGE_HOMEASSISTANT=$(HOMEASSISTANT) $(BIN)/python -m pytest tests/homeassistant

$(HOMEASSISTANT)/.ready:
	@echo "==> Home Assistant in $(HOMEASSISTANT)"
	@$(HOMEASSISTANT_PYTHON) -m venv $(HOMEASSISTANT)
	@$(HOMEASSISTANT)/bin/python -u -m pip --disable-pip-version-check install --progress-bar off homeassistant==2025.4.4 \
		paho-mqtt==2.1.0 $(BRIEFLY)
	@touch $@

test suite test-slow lint test-triton test-homeassistant model aarch64: COST := 2.3 GB on disk or more, five minutes or more
lint: $(VENV)/.test $(TREE)
	$(BIN)/ruff format --check .
	@echo "ruff checks $$($(BIN)/ruff check --show-files . | wc -l) files"
	$(BIN)/ruff check .
	MYPYPATH=$$(echo build/__editable__.htsat_edge-*) $(BIN)/mypy

# The bundled model again: an hour with a GPU and 16 cores, days on a CPU; stopped, its training goes on where it was.
CORPORA := runs/corpus runs/alarms
MANIFESTS := $(CORPORA:%=%/manifest.csv)
SCENES = $(BIN)/python -m htsat_edge.htsat.render_scenes --data $(CORPORA) --labels runs/bundled/labels.csv
model: $(VENV)/.test $(TREE)
	$(BIN)/python -m htsat_edge.htsat.build_corpus --out runs/corpus
	$(BIN)/python -m htsat_edge.htsat.alarms --count 4000 --processes $$(nproc) --out runs/alarms
	$(BIN)/python -m htsat_edge.htsat.train --config configs/train.yaml --data $(CORPORA) --out runs/bundled
	$(BIN)/python -m htsat_edge.htsat.evaluate runs/bundled --data $(CORPORA)
	$(BIN)/python export/to_onnx.py runs/bundled/model.safetensors --network runs/bundled/network.yaml \
		--labels runs/bundled/labels.csv --thresholds runs/bundled/thresholds.json --with-weights --half-weights \
		--no-cpu --name bundled --out runtime/models/bundled
	$(SCENES) --seed 17 --count 90 --out runs/scenes-to-choose
	$(SCENES) --quiet --split val --seconds 60 --count 70 --out runs/quiet-to-choose
	$(BIN)/python calibration/thresholds.py runtime/models/bundled --clips runs/scenes-to-choose/manifest.csv --no-median \
		--sources $(MANIFESTS) --others $(MANIFESTS) runs/quiet-to-choose/manifest.csv --most-others 0.08 --write
	$(BIN)/python calibration/quantize.py runtime/models/bundled --clips $(MANIFESTS) --count 128 --graphs int8
	$(SCENES) --count 90 --out runs/scenes
	$(BIN)/python calibration/accuracy.py runtime/models/bundled --clips runs/scenes/manifest.csv \
		--page runs/bundled/accuracy.html
	$(BIN)/python calibration/negatives.py runtime/models/bundled --clips $(MANIFESTS) \
		--background runs/quiet-to-choose/manifest.csv
	$(SCENES) --quiet --split test --seconds 60 --count 70 --out runs/quiet
	$(BIN)/python calibration/levels.py runtime/models/bundled --background runs/quiet-to-choose --measure runs/quiet \
		--clips runs/scenes/manifest.csv --material "scenes of game ambience that was not learned" --write
	$(BIN)/python -m htsat_edge.htsat.card runs/bundled --data $(CORPORA) --out runtime/models/bundled

# Its results are compared with this environment's, whose versions it takes.
aarch64: $(VENV)/.test $(TREE)
	$(BIN)/python tests/aarch64/emulate.py

clean:
	rm -rf $(VENV) $(TRITON) $(HOMEASSISTANT) .venv-jetpack6-* .venv-oldest-* .venv-device-* build *.egg-info

# A stamp a set of packages: done once, and again when setup.py changes.
$(VENV)/.demo: setup.py | $(BIN)/python
	@echo "==> Packages for the detector, pictures and the page"
	@$(PIP) $(EDITABLE) --editable ".[plot,web]" $(BRIEFLY)
	@rm -f $(VENV)/.tree-* && touch $@ $(TREE)

$(TREE): | $(VENV)/.demo
	@echo "==> This checkout as a package, anew: a file came or went"
	@rm -rf $(VENV)/.tree-* build/__editable__.htsat_edge-*
	@$(PIP) $(EDITABLE) --no-deps --editable . $(BRIEFLY)
	@touch $@

# torch is named alone and first, so that its small CPU build is taken where there is one.
$(VENV)/.test: setup.py $(CONSTRAINTS) | $(BIN)/python compiler
	@$(if $(TORCH),echo "==> torch" && $(PIP) $(CONSTRAINED) $(TORCH) $(BRIEFLY))
	@echo "==> Packages for everything else"
	@$(PIP) $(CONSTRAINED) $(EDITABLE) --editable ".[$(EXTRAS)]" $(BRIEFLY)
	@rm -f $(VENV)/.tree-* && touch $@ $(VENV)/.demo $(TREE)

# The minima of setup.py as exact versions, and more only where another package asks for more. torch is as elsewhere.
comma := ,
$(VENV)/minima.txt: setup.py | $(BIN)/python
	@$(PIP) uv $(BRIEFLY)
	@echo $(TORCH) | $(BIN)/uv pip compile --quiet --upgrade --python $(BIN)/python --resolution lowest-direct --no-annotate \
		$(patsubst %,--extra %,$(subst $(comma), ,$(EXTRAS))) setup.py - --output-file $@

# sed_scores_eval comes as source.
compiler:
	@command -v cc >/dev/null && $(PYTHON) -c \
		'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy gcc python3-dev; \
		elif sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo apt-get install -qy gcc python3-dev; \
		else echo "please install a C compiler first: sudo apt-get install gcc python3-dev" >&2; exit 2; fi

# Some tests need a virtual microphone, a broker, ffmpeg, a PostgreSQL server and a browser. Where these cannot be
# installed, those tests are skipped and say so. The browser is by itself: not every system has a package of it.
PROGRAMS := pulseaudio mosquitto ffmpeg
PACKAGES := pulseaudio pulseaudio-utils libasound2-plugins libportaudio2 mosquitto ffmpeg postgresql
programs:
	@PATH=$$PATH:/usr/sbin; for program in $(PROGRAMS); do command -v $$program >/dev/null || missing=1; done; \
		ldconfig -p 2>/dev/null | grep -q libportaudio || missing=1; \
		ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing=1; \
		command -v chromium >/dev/null || browser=chromium; \
		if [ -z "$$missing$$browser" ]; then exit 0; fi; \
		sudo=; if [ "$$(id -u)" != 0 ]; then sudo="sudo -n"; fi; \
		if ! command -v apt-get >/dev/null || ! $$sudo true 2>/dev/null; then \
			echo "some tests need: sudo apt-get install $(PACKAGES) chromium" >&2; exit 0; fi; \
		install="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends"; \
		$$sudo apt-get update -q; \
		if [ -n "$$missing" ]; then $$install $(PACKAGES) || exit; fi; \
		if [ -n "$$browser" ]; then $$install $$browser || echo "the tests of the page need chromium, which is not to be had here" >&2; fi

# Debian and Ubuntu split venv from Python: install it where we may, else say what to install.
$(BIN)/python:
	@echo "==> Setting up $(VENV), once$(if $(COST),: $(COST))"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "htsat-edge needs Python 3.10 or newer: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy python3-venv; \
		elif sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo apt-get install -qy python3-venv; \
		else echo "please install Python's venv first: sudo apt-get install python3-venv" >&2; exit 2; fi
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "pip>=23.1" $(BRIEFLY)  # that of Ubuntu 22.04 knows no --config-settings
