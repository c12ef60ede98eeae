#!/usr/bin/env bash
# run.sh PROGRAM MODEL PROMPT: write a story. MODEL may be empty: then the model that is at hand.
set -euo pipefail
program=$1 model=$2 prompt=$3
if [ -z "$model" ]; then
    model=$(dirname "$0")/../../shared/data/models-stories260k/stories260K.bin
    if [ ! -f "$model" ]; then
        echo "$program is built, but no model is at hand: name one with make run MODEL=path/to/model.gguf" >&2
        echo "(a small one: stories260K.bin and tok512.bin from https://huggingface.co/karpathy/tinyllamas/tree/main/stories260K, both in one folder)" >&2
        exit 1
    fi
fi
"$program" run --model "$model" -n 200 --seed 7 --echo "$prompt"
echo
