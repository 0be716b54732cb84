#!/usr/bin/env bash
# The same text trains another WordPiece or Unigram tokenizer in each process.
#
# Versions: tokenizers 0.23.3, Python 3.11.
# Guess:    four trainers (BPE, WordLevel, WordPiece, Unigram) on the same text give the same file in every process.
# Seen:     BPE and WordLevel do. WordPiece has the same entries, but about a sixth of them under other ids; Unigram's scores differ
#           in their last bits, so its file differs. Also with one thread and TOKENIZERS_PARALLELISM=false.
# Meaning:  a model that is trained on WordPiece ids cannot be repeated from its text and seed: keep the tokenizer's file with
#           the run, and compare digests. distilfleet trains byte-level BPE alone and stores what it trained.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check tokenizers==0.23.3
cat > "$T/train.py" <<'P'
import json
import sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

words = "temperature pressure humidity vibration current voltage torque speed level flow valve motor pump sensor gateway".split()
texts = [" ".join(f"{words[(i * i + 3 * j) % 15]}{(i * j) % 97}" for j in range(40)) for i in range(200)]
unknown = ["[UNK]"]
pairs = {
    "BPE": (models.BPE(), trainers.BpeTrainer(vocab_size=400, show_progress=False)),
    "WordLevel": (
        models.WordLevel(unk_token="[UNK]"),
        trainers.WordLevelTrainer(vocab_size=400, show_progress=False, special_tokens=unknown),
    ),
    "WordPiece": (
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=400, show_progress=False, special_tokens=unknown),
    ),
    "Unigram": (models.Unigram(), trainers.UnigramTrainer(vocab_size=400, show_progress=False)),
}
made = {}
for name, (model, trainer) in pairs.items():
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainer)
    made[name] = [tokenizer.to_str(), tokenizer.get_vocab()]
json.dump(made, open(sys.argv[1], "w"))
P
for i in 1 2 3 4 5 6; do RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false "$T/v/bin/python" "$T/train.py" "$T/$i.json"; done
"$T/v/bin/python" - "$T" <<'P'
import json
import sys
runs = [json.load(open(f"{sys.argv[1]}/{i}.json")) for i in range(1, 7)]
files = {name: len({run[name][0] for run in runs}) for name in runs[0]}
first, other = runs[0]["WordPiece"][1], runs[1]["WordPiece"][1]
moved = sum(first[word] != other.get(word) for word in first)
print("different files in six processes:", files)
print(f"WordPiece, two processes: the same entries {set(first) == set(other)}, other ids {moved} of {len(first)}")
assert files["BPE"] == files["WordLevel"] == 1 and files["WordPiece"] > 1 and files["Unigram"] > 1
P
