"""The commented specs that `loratory init` writes, one for each kind of task."""

from __future__ import annotations

SPEC_HEADER = """\
# {about}
# Check this file: loratory check {file}
# Run it: loratory run {file}
# Every key with its meaning: loratory schema. An editor with a YAML language server shows the same while you type.
name: {name}

"""
CLASSIFY_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: classify
{labels}  # headline: accuracy       # the score that early stopping and the verdict use; macro_f1 where labels are rare
  # descriptions: {{}}          # for each label, its meaning in words; zero-shot reads it

data:
  path: {path}
{options}{columns}  # test: held-out.csv       # your own test file; it is used as it is, nothing is removed from it
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates are kept in one part

base: minilm                # installed with loratory, no download; or a folder, or a hub id: microsoft/deberta-v3-base

# The contenders, simplest first. Each is compared with the first one and with the best simpler one.
ladder:
  - rules
  - tfidf
  - zero-shot
  - prototype
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # transformers loads it: AutoModelForSequenceClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  # epochs: 4               # passes over train; by default more for small data
  seeds: 1                  # fits of each contender; 3 show how much the seed changes the score
  trials: 1                 # values of the learning rate (tfidf: of the penalty) that are tried on the validation split

evidence:
  margin: 0.005             # 0.5 points below the best contender still counts as equally good

# gate:                     # conditions that a contender must meet before you use it
#   recall: {{{some_label}: {{at_least: 0.9, confidence: 0.95}}}}
#   not_worse_than: {{tfidf: 0.0}}
"""
)


GENERATE_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: generate
{schema}{checks}# choose from exact, overlap, fields, numbers, words, bullets, hashtags, contains, refuses, or your own

data:
  path: {path}
{options}{columns}  # test: held-out.jsonl     # your own test file; it is used as it is, nothing is removed from it
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates are kept in one part

base: seedling              # installed with loratory, tiny; better: a folder or a hub id of an instruction model

# The contenders, simplest first. Each is compared with the first one and with the best simpler one.
ladder:
  - prompted: {{shots: 2}}
  - lora
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  max_tokens: {tokens}          # limit for a conversation with its answer; a longer one is an error, it is not cut
  seeds: 1                  # fits of each contender; 3 show how much the seed changes the score
"""
)
TAG_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: tag
{labels}  # headline: strict_f1      # the score that early stopping and the verdict use; f2 where misses cost more

data:
  path: {path}
{options}{columns}  # test: held-out.jsonl     # your own test file; it is used as it is, nothing is removed from it
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates are kept in one part

base: minilm                # installed with loratory, no download; or a folder, or a hub id: microsoft/deberta-v3-base

# The contenders, simplest first. Each is compared with the first one and with the best simpler one.
ladder:
  - rules                   # your patterns and keywords; validators (card numbers, IBAN, e-mail); phrases from train
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # transformers loads it: AutoModelForTokenClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  # epochs: 4               # passes over train; by default more for small data
  seeds: 1                  # fits of each contender; 3 show how much the seed changes the score
"""
)
