# make demo      install what is needed into .venv and segment four sample images (demo-output/)
# make test      install and run every test
# make check     install and check style, spelling, imports and types
# make gpu-bundle REAL=FOLDER  collect in build/gpu-bundle what tools/gpu.sh needs on a GPU machine without a network
# make docs      build the documentation site in build/docs
# make samples   redraw the sample images of Resources/samples: the same pixels, a new date in the DICOM file
# make coverage  run the tests of the engine and report the coverage of lines
# make clean     remove .venv, demo-output and test-output

PYTHON ?= python3
PIP := .venv/bin/python -m pip --disable-pip-version-check
QT_LIBRARIES := libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core
GL_LIBRARIES := libegl1 libgl1-mesa-dri
SUITES := $(wildcard Testing/Python Testing/Scene Testing/Panel Testing/Views)
# Install Debian packages; $(2) is the message if they cannot be installed.
install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -qy $(1); \
    else echo "$(2). On Debian: apt-get install $(1)" >&2; fi

.PHONY: demo test check docs coverage samples gpu-bundle clean

demo: .venv/.installed
	.venv/bin/medclipsam demo --out demo-output

# Each suite runs in processes of its own, as slicer-core and the stand-in for Slicer's widgets cannot share one. Its
# files are distributed to two single-threaded processes, which is faster on two cores than one process.
TWO_PROCESSES := -n 2 --dist loadfile --no-loadscope-reorder
test: .venv/.installed-test
	@failed=; for suite in $(SUITES); do \
	    echo "== $$suite"; \
	    OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -rs $(TWO_PROCESSES) $$suite || failed="$$failed $$suite"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

# Run all checks, even after one has failed.
check: .venv/.installed-dev
	@failed=; for tool in "ruff check" "ruff format --check" codespell lint-imports mypy; do \
	    echo "== $$tool"; .venv/bin/$$tool || failed="$$failed [$$tool]"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

coverage: .venv/.installed-test .venv/.installed-dev
	.venv/bin/python -m pytest -q $(TWO_PROCESSES) Testing/Python --cov --cov-report=term:skip-covered

samples: .venv/.installed
	.venv/bin/python -c 'from MedCLIPSAMLib.phantoms.samples import write_samples; write_samples()'

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build

gpu-bundle: .venv/.installed
	tools/gpu_bundle.sh "$(REAL)"

clean:
	rm -rf .venv build demo-output test-output

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || { echo "Python 3.11 or newer is needed as '$(PYTHON)'. Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -qy python3-venv; \
	    else echo "'$(PYTHON)' cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv .venv

# Building sam2 needs torch; without build isolation it uses the installed one instead of downloading a second one.
.venv/.installed: pyproject.toml setup.py | .venv/bin/python
	$(PIP) install -q "setuptools>=77" wheel "torch>=2.6,<3" "torchvision>=0.21,<1"
	SAM2_BUILD_CUDA=0 $(PIP) install -q --no-build-isolation "sam2>=1.1,<2"
	$(PIP) install -q --no-build-isolation -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install -q --no-build-isolation -e ".[dev]"
	touch $@

.venv/.installed-docs: .venv/.installed
	$(PIP) install -q --no-build-isolation -e ".[docs]"
	touch $@

.venv/.installed-test: .venv/.installed
	$(PIP) install -q --no-build-isolation -e ".[test,docs,scene,panel,dicom,finetune,weak,cluster,search]"
	@QT_QPA_PLATFORM=offscreen .venv/bin/python -c "from PySide6 import QtWidgets; QtWidgets.QApplication([])" 2>/dev/null \
	    || { $(call install,$(QT_LIBRARIES),Qt lacks libraries; the tests of the panel and of the views are skipped); }
	@.venv/bin/python Testing/Views/offscreen.py 2>/dev/null \
	    || { $(call install,$(GL_LIBRARIES),OpenGL cannot draw without a screen; the tests of the views are skipped); }
	touch $@
