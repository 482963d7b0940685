#!/usr/bin/env bash
# Measures the six base recipes and image large on one NVIDIA GPU, beside torch, and writes the
# table of benchmarks/README.md. From a fresh clone:
#
#   benchmarks/gpu.sh                   # environments and fairseq under .gpu/ (about 12 GB), then ten minutes
#   benchmarks/gpu.sh --minutes 20      # words go on to gpu.py; rows that are there are kept
#   benchmarks/gpu.sh --dry-run         # no GPU: smoke recipes with the Python that is there, nothing written
#
# PYTHON: what environments are made with (python3). FAIRSEQ: a checkout of fairseq; without one it
# is cloned from GitHub, and where that is not to be had, its columns stay empty.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} place=.gpu

for word in "$@"; do
    if [ "$word" = --dry-run ]; then
        exec "$python" benchmarks/gpu.py "$@"
    fi
done

if ! command -v nvidia-smi >/dev/null; then
    echo "gpu.sh: there is no NVIDIA driver here (nvidia-smi is missing); --dry-run needs none" >&2
    exit 2
fi
first=${CUDA_VISIBLE_DEVICES:-0}
export CUDA_VISIBLE_DEVICES=${first%%,*} # one, whatever there is
memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits -i "$CUDA_VISIBLE_DEVICES")
cuda=$(nvidia-smi | sed -n 's/.*CUDA Version: \([0-9]*\).*/\1/p')
extra=cuda12
if [ "${cuda:-12}" -ge 13 ]; then extra=cuda13; fi

# A mark says that an environment is whole; one that was broken off is made again.
environment() { # NAME PACKAGE...
    local folder=$place/$1
    shift
    if [ -e "$folder/whole" ]; then return; fi
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet "$@"
    touch "$folder/whole"
}

mkdir -p "$place"
echo "gpu.sh: making environments under $place ..." >&2
environment ours -e ".[$extra]" &
ours=$!
environment torch torch transformers hydra-core omegaconf numpy bitarray scikit-learn sacrebleu &
torch=$!
fairseq=${FAIRSEQ:-$place/fairseq}
if [ ! -d "$fairseq" ] &&
    ! git clone --quiet --depth 1 https://github.com/facebookresearch/fairseq "$fairseq"; then
    echo "gpu.sh: fairseq cannot be cloned; its columns stay empty (FAIRSEQ=CHECKOUT names one)" >&2
fi
wait "$ours"
beside=()
if wait "$torch"; then
    beside=(--torch-python "$place/torch/bin/python")
    if [ -d "$fairseq" ]; then beside+=(--fairseq "$fairseq"); fi
else
    echo "gpu.sh: torch could not be installed; only ours is measured" >&2
fi
exec "$place/ours/bin/python" benchmarks/gpu.py --memory $((memory / 1024)) \
    --json "$place/results.json" --readme benchmarks/README.md ${beside[@]+"${beside[@]}"} "$@"
