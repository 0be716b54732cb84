#!/usr/bin/env bash
# A tokenizer.json whose added token does not follow the vocabulary is loaded with another id for it.
#
# Versions: tokenizers 0.23.3, Python 3.11.
# Guess:    an added token has the id that the file says, or the file is refused.
# Seen:     the id is taken as the next free one, 3 instead of 10, without an error or warning; the file saved again says 3.
# Meaning:  a model trained with padded tables (the special tokens at the end of 32,064 rows) is asked for the row of another token.
#           distilfleet compares the ids of a tokenizer.json with those that the library gives, and refuses the file where they differ.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check tokenizers==0.23.3
"$T/v/bin/python" - <<'P'
import json
import sys

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers

made = Tokenizer(models.WordLevel({"[UNK]": 0, "light": 1, "on": 2}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
parts = json.loads(made.to_str())
flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
parts["added_tokens"] = [{"id": 10, "content": "<end>", **flags}]
loaded = Tokenizer.from_str(json.dumps(parts))
ids = loaded.encode("light on <end>").ids
saved = json.loads(loaded.to_str())["added_tokens"][0]["id"]
print(f"tokenizers {tokenizers.__version__}")
print("expected: light on <end> is 1, 2, 10, or an error")
print(f"seen:     {ids}; saved again with id {saved}")
sys.exit(0 if ids == [1, 2, 3] and saved == 3 else 1)
P
