# make demo: segment the example shapes.  make test: everything but the slow tests.  Both start from python3, pip and g++.
PYTHON ?= python3
SHELL := /bin/bash
.DELETE_ON_ERROR:

NATIVE := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.inl') setup.py pyproject.toml
PACKAGE := $(NATIVE) $(shell find pa3d -name '*.py' -o -name '*.pyi' -o -path 'pa3d/weights/*' -type f -o -path 'pa3d/report/viewer/*' -type f)
FORMATTED := $(shell find csrc/*.cpp csrc/*.h csrc/cpu tests/native tests/fuzz -name '*.cpp' -o -name '*.h' -o -name '*.inl')
EXAMPLES := $(wildcard examples/*.glb examples/*.ply)
DEV := .venv-dev/bin
export OMP_NUM_THREADS ?= 1

.PHONY: wheel demo test test-slow test-triton arm lint format bench browser blender bpy sanitize fuzz cuda-report clean python

demo: .venv/installed
	@rm -rf out/demo && mkdir -p out/demo
	@set -e; for shape in $(EXAMPLES); do \
	  name=$$(basename $${shape%.*}); \
	  .venv/bin/pa3d segment $$shape --parts examples/$$name.txt -o out/demo/$$name; echo; \
	done
	@echo "pictures, and pages to turn the shapes round in a browser:"
	@ls $(foreach shape,$(EXAMPLES),out/demo/$(basename $(notdir $(shape)))/parts.{png,html})

test: .venv-dev/installed
	$(DEV)/python -m pytest -m "not slow" -n auto

test-slow: .venv-dev/installed
	$(DEV)/python -m pytest -m slow --ignore tests/test_arm.py

# On Triton's interpreter, which must be chosen before the first import: a process of its own.
test-triton: .venv-dev/installed
	TRITON_INTERPRET=1 $(DEV)/python -m pytest tests/interpreted

# The kernels and the C interface on 64-bit Arm, in qemu. From Debian: g++-aarch64-linux-gnu qemu-user.
arm: .venv-dev/installed
	if command -v $(lastword $(ARM_CXX)); then $(MAKE) -j 2 arm-programs; fi
	$(DEV)/python -m pytest -m slow -n auto tests/test_arm.py

# By npm, what tests in a browser need: onnxruntime-web for docs/embedding.md, and for parts.glb three.js and the validator
# of Khronos. Chromium must be there, too.
browser: build/browser/installed

build/browser/installed: Makefile
	mkdir -p $(@D)
	npm install --prefix $(@D) --no-save --silent onnxruntime-web@1.30.0 three@0.180.0 gltf-validator@2.0.0-dev.3.10
	touch $@

# dist/pa3d_blender-VERSION.zip: the add-on for Blender 4 and 5.
blender: python
	$(PYTHON) scripts/make_blender_zip.py

# Blender as a package, for the tests of the add-on and that Blender opens parts.glb; in an environment of its own,
# because it pins numpy.
bpy: build/bpy/installed

build/bpy/installed: Makefile | python
	$(call environment,build/bpy)
	build/bpy/bin/python -m pip install 'bpy>=4.5,<5'
	touch $@

# On a quiet machine: writes docs/benchmarks.md. The extra has the runtimes that pa3d is compared with.
bench: .venv-dev/installed
	$(DEV)/python -m pip install -q -c constraints.txt -e '.[dev,bench]'
	$(DEV)/python bench/report.py

# Needs nvcc, no GPU: registers, spills and occupancy of every GPU kernel, into docs/gpu.md.
cuda-report: .venv-dev/installed
	$(DEV)/python scripts/cuda_report.py

lint: .venv-dev/installed
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy pa3d
	$(DEV)/lint-imports --no-cache
	$(DEV)/clang-format --dry-run -Werror $(FORMATTED)

format: .venv-dev/installed
	$(DEV)/ruff check --fix-only --quiet .
	$(DEV)/ruff format .
	$(DEV)/clang-format -i $(FORMATTED)

# dist/: the source distribution, and the wheel for Linux with Python 3.11 and later. auditwheel gives it the oldest
# manylinux tag that this machine's C library allows. What an earlier build left in build/lib would get into the wheel.
wheel: .venv-dev/installed
	rm -rf dist/*.whl dist/*.tar.gz build/dist build/lib* build/bdist* *.egg-info
	PA3D_CUDA=0 $(DEV)/python -m build --sdist --wheel --outdir build/dist .
	PATH="$(abspath $(DEV)):$$PATH" $(DEV)/python -m auditwheel repair --wheel-dir dist build/dist/*.whl
	cp build/dist/*.tar.gz dist/
	$(DEV)/python -m auditwheel show dist/*.whl
	@ls -l dist

clean:
	rm -rf .venv .venv-dev build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache pa3d/_C.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp in each environment, so that a second call does nothing. Without torch, as users install it:
.venv/installed: $(PACKAGE) README.md LICENSE NOTICE | python
	$(call environment,.venv)
	rm -rf build/lib* build/bdist*
	.venv/bin/python -m pip install .
	touch $@

# With everything, editable: changed Python counts at once, changed C++ and requirements through this rule.
.venv-dev/installed: $(NATIVE) constraints.txt | python
	$(call environment,.venv-dev)
	$(DEV)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

# Some distributions split what venv needs to install pip into a package of its own; the pip that is there does it then.
define environment
	test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || \
	  { $(PYTHON) -m venv --clear --without-pip $(1) && $(PYTHON) -m pip --python $(1)/bin/python install pip; }
endef

python:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else \
	  f"pa3d needs Python 3.11 or later; $(PYTHON) is {v}. Name another: make PYTHON=python3.12")'

# make capi: build/capi/libpa3d.so, the library for programs without Python.
include csrc/capi.mk

# make sanitize: the kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer.
include tests/native/sanitize.mk

# make arm-programs: what make arm runs.
include tests/native/arm.mk

# make fuzz SECONDS=60: damaged input for every reader and for the C interface.
include tests/fuzz/fuzz.mk
