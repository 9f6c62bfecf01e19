# `make` alone prints the targets. It needs Python 3.11+ and make; everything else is installed into .venv/ and .tools/.

VENV = .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Install only locked packages, with their hashes, and only wheels: building a source archive would fetch unlocked packages.
FROM_LOCK = $(PIP_INSTALL) --require-hashes --only-binary :all:
UV_LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --custom-compile-command "make lock"
# Each of the workers would compile all tests again at each run.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/pytest --dist worksteal

.PHONY: help
help: ## print this help
	@echo 'usage: make TARGET [PYTHON=python3.12] [ARGS="-k ledger"]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.package ## run the exporter against the embedded Glue simulator: no AWS, no credentials
	$(BIN)/glue-ml-exporter demo $(ARGS)

.PHONY: demo-prometheus
demo-prometheus: $(VENV)/.package ## run the demo with a local Prometheus and Alertmanager, with the alerts loaded
	$(BIN)/python demo-stack/local.py $(ARGS)

.PHONY: demo-stack
demo-stack: ## run the demo with Prometheus, Alertmanager and Grafana, all in Docker
	docker compose -f demo-stack/compose.yaml up --build $(ARGS)

# Two workers for each of two cores, because many tests wait for a server. Of the quick tests only a few do.
.PHONY: test
test: $(VENV)/.dev tools ## run all tests, including those with real Prometheus servers and the aws command line
	$(PYTEST) -n 4 $(ARGS)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## run the tests that are quick and need no outside programs
	$(PYTEST) -n 3 -m "not slow" $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: generate
generate: $(VENV)/.dev ## write the generated files: rules, dashboards, parts of the chart, references, licences
	$(BIN)/glue-ml-exporter rules --output=alerts > /dev/null
	$(BIN)/python -m dashboards.generate
	$(BIN)/python -m helm.generate
	$(BIN)/python docs/generate.py
	$(BIN)/python packaging/licences.py

.PHONY: pictures
pictures: $(VENV)/.dev ## make the pictures of the documentation from the demo; takes five minutes
	$(BIN)/python tests/tools/install.py chromium classic-prometheus prometheus-3
	$(BIN)/python -m docs.make_pictures

.PHONY: bench
bench: $(VENV)/.dev ## measure memory, speed and scrapes
	$(BIN)/python tests/tools/install.py nginx prometheus-3
	$(BIN)/python -m bench $(ARGS)

.PHONY: packages
packages: $(VENV)/.package ## build the wheel and the sdist into dist/
	$(BIN)/python -m hatchling build --target wheel --target sdist --directory dist

.PHONY: image
image: ## build the container image with docker, as glue-ml-exporter; VARIANT=distroless for one without a shell
	docker build --build-arg VARIANT=$(or $(VARIANT),slim) --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' exporter/__init__.py) \
		--build-arg REVISION=$$(git rev-parse HEAD) --tag glue-ml-exporter .

.PHONY: sbom
sbom: packages ## write the bill of materials into dist/
	$(BIN)/python tests/tools/install.py shipping
	rm -rf build/sbom && $(BIN)/python -m venv --without-pip build/sbom
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --disable-pip-version-check \
		--require-hashes --only-binary :all: -r locks/runtime.txt
	$(BIN)/python -m pip --python build/sbom/bin/python install --quiet --disable-pip-version-check --no-deps dist/*.whl
	packaging/sbom build/sbom/bin/python dist/sbom.cdx.json

.PHONY: tools
tools: $(VENV)/.dev ## install the outside programs of the tests into .tools/
	@$(BIN)/python tests/tools/install.py

.PHONY: lock
lock: $(VENV)/.dev ## update all locked dependencies to the newest versions that pyproject.toml allows
	$(UV_LOCK) pyproject.toml --group dev --output-file locks/dev.txt
	$(UV_LOCK) pyproject.toml --constraint locks/dev.txt --output-file locks/runtime.txt
	$(UV_LOCK) --group build --constraint locks/dev.txt --output-file locks/build.txt
	tests/tools/install-awscli --lock
	tests/tools/install-shipping --lock

.PHONY: clean
clean: ## remove everything that make created: .venv/, .tools/, caches
	rm -rf $(VENV) .tools .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installation. Each stamp file is rebuilt when its sources change.

$(VENV)/.dev: locks/dev.txt $(VENV)/.package
	@echo 'installing the development tools of $<'
	@$(FROM_LOCK) -r $<
	@touch $@

$(VENV)/.package: pyproject.toml exporter/__init__.py $(VENV)/.runtime
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.runtime: locks/runtime.txt locks/build.txt $(VENV)/.python
	@echo 'installing the dependencies of locks/runtime.txt'
	@$(FROM_LOCK) -r locks/runtime.txt -r locks/build.txt
	@touch $@

$(VENV)/.python:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "error: $$python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }; \
		"$$python" -m venv --clear $(VENV) && touch $@; exit; \
	done; \
	echo 'error: $(or $(PYTHON),every python3 here) is missing or older than 3.11; name one: make PYTHON=/path/to/python3' >&2; \
	exit 1

# If PYTHON= names another interpreter than that of the virtual environment, a new environment is created.
ifdef PYTHON
IDENTITY = -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null
ifneq ($(shell $(PYTHON) $(IDENTITY)),$(shell $(BIN)/python $(IDENTITY)))
.PHONY: $(VENV)/.python
endif
endif
