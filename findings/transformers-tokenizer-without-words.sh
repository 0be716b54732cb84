#!/usr/bin/env bash
# AutoTokenizer makes a tokenizer out of a folder that has none, and says nothing.
#
# Versions: transformers 5.23.0, tokenizers as it asks for, Python 3.11; a folder with the config.json
#           of a BERT alone.
# Guess:    a folder without tokenizer.json, vocab.txt or any other vocabulary is refused.
# Seen:     it gives a BertTokenizer of the five special tokens; every word is [UNK].
# Meaning:  a classifier whose tokenizer was not copied learns from texts that all look alike.
#           distilfleet asks for a file with a vocabulary first.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check transformers==5.23.0
"$T/v/bin/python" - "$T/model" <<'P'
import sys

import transformers

folder = sys.argv[1]
transformers.BertConfig().save_pretrained(folder)
print(f"transformers {transformers.__version__}")
print("expected: refused, for there is no vocabulary")
try:
    made = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
except Exception as error:
    print(f"seen:     {type(error).__name__}")
    sys.exit(1)
words = made.tokenize("turn the light on")
print(f"seen:     {type(made).__name__} of {len(made)} entries; 'turn the light on' is {words}")
sys.exit(0 if set(words) == {made.unk_token} else 1)
P
