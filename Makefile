# The verbs of jax-sif, one command each; on a login node, a laptop or in CI.
# SPDX-License-Identifier: Apache-2.0

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# cuda12, cuda13 or cpu: the image that the verbs use.
ACCEL ?= cuda12
# Where the base comes from: registry (a container registry), local (made here), or a path.
BASE ?= registry
# Where `make install` puts image, module, programs and jobs.
PREFIX ?= /usr/local/jax-sif
# More arguments for pytest, as in: make test TESTS='-k entry'
TESTS ?=

export ACCEL BASE

.PHONY: help
help: ## show these verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

.PHONY: build-image
build-image: ## build/jax-sif-<jax>-<accel>.sif, for Singularity/Apptainer
	python3 tools/build_image.py --accel "$(ACCEL)" --base "$(BASE)"

.PHONY: reproducible
reproducible: ## the image of ACCEL twice; fails if the two differ
	python3 tools/reproducible.py --accel "$(ACCEL)" --base "$(BASE)"

.PHONY: build-oci
build-oci: ## the same image as an OCI archive, for podman and docker
	python3 tools/build_oci.py --accel "$(ACCEL)" --base "$(BASE)"

.PHONY: info
info: ## describe the image of ACCEL
	"$$(tools/venv)/bin/python" tools/info.py --accel "$(ACCEL)"

.PHONY: sign
sign: ## the image of ACCEL by a private key, KEY=centre.pem; jobs refuse any other
	KEY="$(KEY)" python3 tools/sign.py --accel "$(ACCEL)"

.PHONY: install
install: ## image, module, programs and jobs into PREFIX, for a whole centre
	python3 tools/install.py --accel "$(ACCEL)" --prefix "$(PREFIX)"

.PHONY: demo
demo: ## a cluster on this machine, the image, and a verified all-reduce on 2 nodes
	minicluster/demo

.PHONY: test
test: ## every test; sets up the mini cluster and the CPU image itself
	tools/test all $(TESTS)

.PHONY: test-unit
test-unit: ## the tests that need no cluster, in seconds
	tools/test unit $(TESTS)

.PHONY: golden
golden: ## write the texts in tests/golden again; read the diff before you commit it
	tools/test unit --golden-rewrite $(TESTS)

.PHONY: lint
lint: ## ruff, mypy, shellcheck and a Lua check
	tools/lint

.PHONY: docs
# Silences a notice about the next MkDocs.
docs docs-serve: export NO_MKDOCS_2_WARNING = 1

docs: ## the pages of docs/ as a site in build/site; fails for a dead link
	"$$(tools/venv)/bin/mkdocs" build

.PHONY: docs-serve
docs-serve: ## the site on http://127.0.0.1:8000, again after every change
	"$$(tools/venv)/bin/mkdocs" serve

.PHONY: bench
bench: ## sizes, start-up times and costs, as JSON and a table
	python3 benchmarks/bench.py

.PHONY: faults
faults: ## every fault, with the kit and with JAX alone, into docs/faults.md (half an hour)
	"$$(tools/venv)/bin/python" benchmarks/faults.py

.PHONY: healthy
healthy: ## 200 healthy jobs, for example of programs that fork, to count false alarms (half an hour)
	"$$(tools/venv)/bin/python" benchmarks/healthy.py

.PHONY: jobs
jobs: ## jobs/*.slurm and examples/*.slurm again
	"$$(tools/venv)/bin/python" tools/jobs.py

.PHONY: lock
lock: ## newest versions into requirements/*.txt, image.env and the module's version files
	python3 tools/lock.py

.PHONY: clean
clean: ## stop the mini cluster and remove build/
	minicluster/minicluster down
	rm -rf build
