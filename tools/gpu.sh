#!/usr/bin/env bash
# Run tests, benchmarks and a training on a machine with an NVIDIA GPU, without a network and within a time limit.
#
#   tools/gpu_bundle.sh ../real                 # first, on a machine with a network: makes build/gpu-bundle
#   OUT=results tools/gpu.sh                    # on the GPU machine, in a copy of the repository with build/gpu-bundle
#
# Environment:
#   OUT     folder for the results, at most 8 files of 16 MiB
#   LIMIT   seconds for everything (570); the training gets the time that is left
#   PARTS   parts to run, of speed,tests,train (all)
#   DEVICE  device (cuda); cpu for a trial
#   SPEED_LIMIT  seconds for the benchmarks (150)
#   TRIAL   1 trains with few images and steps
#   BUNDLE  folder made by gpu_bundle.sh (build/gpu-bundle)
set -uo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?name the folder for the results}" "${LIMIT:=570}" "${PARTS:=speed,tests,train}" "${DEVICE:=cuda}" "${TRIAL:=}" "${BUNDLE:=build/gpu-bundle}"
mkdir -p "$OUT"
work=$(mktemp -d)
left() { echo $((LIMIT - SECONDS)); }
wants() { case ",$PARTS," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }
say() { echo "[${SECONDS}s] $*"; }

if [ -d "$BUNDLE/wheels" ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$BUNDLE"/wheels/*.whl || exit 1
fi
unset PYTHONDONTWRITEBYTECODE  # compile once, not in every process
export PYTHONPYCACHEPREFIX="$work/cache"
export PYTHONPATH="$PWD:$PWD/python:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
{
    git rev-parse HEAD 2>/dev/null
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
    nproc
    python3 -c "import torch, timm, MedCLIPSAMLib.starter.train; print(torch.__version__, timm.__version__)"
} | tee "$OUT/machine.txt"

failed=
if wants speed; then
    say speed
    env -u OMP_NUM_THREADS timeout -k 5 "${SPEED_LIMIT:-150}" python3 -m MedCLIPSAMLib benchmark speed --parts gpu --rounds 2 --device "$DEVICE" \
        --json "$OUT/speed.json" --overwrite 2>&1 | tee "$OUT/speed.txt" || failed="$failed speed"
fi
if wants tests; then
    say tests
    timeout 240 python3 -m pytest -q -m gpu -p no:cacheprovider Testing/Python >"$OUT/tests.txt" 2>&1 &
    tests=$!
fi
if wants train; then
    say train
    # Reading the images and drawing phantoms takes about half a minute, saving the results a few seconds.
    budget=(--seconds $(($(left) > 100 ? $(left) - 52 : 30)))
    [ -z "$TRIAL" ] || budget=(--steps 2 --trial)
    timeout -k 8 $(($(left) > 60 ? $(left) - 15 : 60)) python3 -m MedCLIPSAMLib starter train "$BUNDLE/real.pack" -o "$work/starter" \
        --device "$DEVICE" "${budget[@]}" 2>&1 | tee "$OUT/train.txt" || failed="$failed train"
    cp "$work/starter/starter-clip/open_clip_model.safetensors" "$OUT/clip.safetensors"
    cp "$work/starter/starter-sam/model.safetensors" "$OUT/sam.safetensors"
    tar -C "$work/starter" --exclude='*.safetensors' --exclude='*.checkpoint' -czf "$OUT/layout.tar.gz" .
fi
if wants tests; then
    wait "$tests" || failed="$failed tests"
    tail -n 15 "$OUT/tests.txt"
fi
rm -rf "$work"
say "done${failed:+, failed:$failed}"
[ -z "$failed" ]
