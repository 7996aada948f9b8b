"""The commented specs that `loratory init` writes, one for each kind of task."""

from __future__ import annotations

SPEC_HEADER = """\
# {about}
# Check it with `loratory check {file}`, run it with `loratory run {file}`. Every key is explained in docs/spec.md.
name: {name}

"""
CLASSIFY_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: classify
{labels}  # headline: accuracy       # the score that early stopping and the verdict go by; or macro_f1 for rare labels
  # descriptions: {{}}          # label: what it means in words; used by zero-shot

data:
  path: {path}
{options}{columns}  # test: held-out.csv       # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: minilm                # embedded, no network; or a folder, or a hub id such as microsoft/deberta-v3-base

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - rules
  - tfidf
  - zero-shot
  - prototype
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # opens wholly in AutoModelForSequenceClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 8
  seeds: 1                  # 3 shows how much chance there is in a fit
  trials: 1                 # learning rates (and tf-idf penalties) tried on validation, as many for each contender

evidence:
  margin: 0.005             # half a point worse than the best is still as good

# gate:                     # what must hold before it may be used
#   recall: {{{some_label}: {{at_least: 0.9, confidence: 0.95}}}}
#   not_worse_than: {{tfidf: 0.0}}
"""
)


GENERATE_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: generate
{schema}{checks}# exact, overlap, fields, numbers, words, bullets, hashtags, contains, refuses, or your own

data:
  path: {path}
{options}{columns}  # test: held-out.jsonl     # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: seedling              # embedded, no network, tiny; better: a folder or a hub id of an instruction model

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - prompted: {{shots: 2}}
  - lora
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 3
  max_tokens: {tokens}          # of a conversation and its answer; longer ones are an error, nothing is cut
  seeds: 1                  # 3 shows how much chance there is in a fit
"""
)
TAG_SPEC = (
    SPEC_HEADER
    + """\
task:
  kind: tag
{labels}  # headline: strict_f1      # the score that early stopping and the verdict go by; or f2: a miss costs more

data:
  path: {path}
{options}{columns}  # test: held-out.jsonl     # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: minilm                # embedded, no network; or a folder, or a hub id such as microsoft/deberta-v3-base

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - rules                   # patterns and keywords of yours; validators of cards, accounts, mail; wordings of train
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # opens wholly in AutoModelForTokenClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 8
  seeds: 1                  # 3 shows how much chance there is in a fit
"""
)
