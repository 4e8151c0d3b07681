# The only commands a newcomer needs: run · test · bench · dashboard · lock.
# `make run` and `make test` do all set-up by themselves; a second call does none of it again.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
FINGERPRINT := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
INSTALLED := .venv/.installed-$(FINGERPRINT)
READY := .domainlm/activate
CONFIG ?= zenml_config.yaml

.PHONY: run test test-kubernetes bench dashboard lock image image-wheels setup clean

run: setup                ## the main job: from raw text to a registered, compared, recorded model
	@.venv/bin/domainlm run -c $(CONFIG)

# Exit code 5 says that none of the files in ARGS has a test of that kind.
test: setup               ## the whole test suite, network blocked except loopback
	@.venv/bin/python -m pytest -q -n auto --dist loadfile -m "not crowded" $(ARGS) || [ $$? = 5 ]
	@.venv/bin/python -m pytest -q -n 2 --dist loadfile -m crowded $(ARGS) || [ $$? = 5 ]

test-kubernetes: setup    ## tests on the cluster that KUBECONFIG points at (tests/kubernetes/README.md)
	@.venv/bin/python -m pytest -q tests/kubernetes $(ARGS)

bench: setup              ## every benchmark; each prints a table and one line of JSON
	@for file in benchmarks/*.py; do .venv/bin/python $$file || exit 1; done

dashboard: setup          ## ZenML's dashboard and MLflow's page, on loopback only
	@.venv/bin/domainlm dashboard

setup: $(INSTALLED) $(READY)

$(INSTALLED): pyproject.toml constraints.txt infra/install.sh
	@PYTHON="$(PYTHON)" sh infra/install.sh "$@"

$(READY): $(INSTALLED) infra/stacks/local.yaml
	@.venv/bin/domainlm setup

lock:                     ## resolve every extra anew into constraints.txt (with hashes)
	@PYTHON="$(PYTHON)" sh infra/lock.sh

# make image [TARGET=cpu|cuda|server] [WHEELS=folder] [BASE=a Debian 12 with Python: then no network is used] [TAG=name]
TARGET ?= cpu
WHEELS ?= build/wheels
TAG ?= localhost/domainlm:$(TARGET)

image: $(INSTALLED)       ## a container image, by podman, docker or buildah (docs/image.md)
	@$(MAKE) --no-print-directory image-wheels
	@.venv/bin/python infra/docker/build.py --target $(TARGET) --wheels $(WHEELS) --tag $(TAG) $(if $(BASE),--base $(BASE),--network host)

image-wheels: $(INSTALLED) ## every package of an image, collected by the lock: what `make image` builds from offline
	@.venv/bin/python infra/docker/wheels.py $(TARGET) $(WHEELS)

clean:                    ## forget every run, store and key of this project (asks first)
	@.venv/bin/domainlm clean
