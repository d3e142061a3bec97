#!/usr/bin/env bash
# Collect in build/gpu-bundle what a GPU machine without a network lacks: wheels, and the training images in one file.
#
#   tools/gpu_bundle.sh REAL [PYTHON_VERSION]     REAL: folder of the data sets; PYTHON_VERSION: 3.12 by default
#
# The machine must have torch, torchvision, timm, transformers, scipy, scikit-image, scikit-learn, pillow, pytest and
# typer. SimpleITK, pydicom and nibabel are not needed: neither the training nor the GPU benchmarks import them.
set -euo pipefail
cd "$(dirname "$0")/.."
real=${1:?name the folder of the data sets}
version=${2:-3.12}
bundle=build/gpu-bundle
python=.venv/bin/python
pip="$python -m pip --disable-pip-version-check -q"
mkdir -p $bundle/wheels
release() { $python -c "import importlib.metadata as m; print('$1==' + m.version('$1'))"; }

for name in open_clip_torch hydra-core omegaconf ftfy wcwidth monai pydantic annotated-types typing-inspection platformdirs; do
    $pip download --no-deps --only-binary=:all: --python-version "$version" -d $bundle/wheels "$(release $name)"
done
$pip download --no-deps --only-binary=:all: --python-version "$version" --implementation cp --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 -d $bundle/wheels "$(release pydantic_core)"
for name in sam2 iopath antlr4-python3-runtime; do  # available only as source
    SAM2_BUILD_CUDA=0 $pip wheel --no-deps --no-build-isolation -w $bundle/wheels "$(release $name)"
done
[ -f $bundle/real.pack ] || $python -m MedCLIPSAMLib starter pack "$real" -o $bundle/real.pack
du -sh $bundle
