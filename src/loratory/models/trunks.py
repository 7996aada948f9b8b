"""Trunks on torch: weights that many predictors share, with guests' adapters mixed in one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor, nn

from loratory.artifacts.contents import Files, files_of
from loratory.errors import BaseModelError, Unfit
from loratory.models import architectures, partial
from loratory.models.attention import use_short_attention
from loratory.models.bases import Base, describe, resolve, weight_files
from loratory.models.generating import Pen, Scribe
from loratory.models.grammar import Grammars, Guide
from loratory.models.memory import keep_freed_memory
from loratory.models.mixture import Floors, Mixture
from loratory.models.places import find
from loratory.models.precision import autocast
from loratory.models.quantised import KIND, quantised
from loratory.models.tokenizers import FastTokenizer
from loratory.models.transcript import Transcript
from loratory.models.trials import joining_works, sharing_works, trees_work
from loratory.models.weights import read_tensors
from loratory.models.writing import Manner, Speaker, pad, voice_of
from loratory.protocols import JSON, Adapter, Alive, Encode, Network, Score, Tokens, Write, Written, always

if TYPE_CHECKING:
    from loratory.models.int8 import Hands, Session
    from loratory.models.live import LiveTrunk, Ways

PASS = 48  # tokens that could be computed in the time that a pass takes beside its tokens
BATCH_TOKENS = 4096  # padded tokens of one inference pass: larger gains nothing on a CPU and costs memory


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of neighbouring lengths, each at most `budget` padded tokens (or one row)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def by_cost(lengths: Sequence[int], budget: int, each: int = PASS) -> list[list[int]]:
    """As `by_length`, in the batches that cost least: padded tokens, and for every pass as much as `each` tokens.

    Few rows of many lengths are mostly padding in one pass: texts of 16 tokens on average beside one of 90.
    """
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])
    ends = [k + 1 for k in range(len(order)) if k + 1 == len(order) or lengths[order[k]] != lengths[order[k + 1]]]
    starts = [0, *ends]
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first rows, and where the last of their batches begins
    for end in ends:
        costs = []
        for number, (cost, _) in enumerate(best):
            padded = lengths[order[starts[number]]] * (end - starts[number])
            passes = -(-padded // budget)
            costs.append((cost + padded + each * passes, starts[number]))
        best.append(min(costs))
    found: list[list[int]] = []
    at = len(ends)
    while at:
        start = best[at][1]
        found.append(order[start : ends[at - 1]])
        at = starts.index(start)
    return [[mine[k] for k in part] for mine in found[::-1] for part in by_length([lengths[k] for k in mine], budget)]


class TorchTrunk:
    """A frozen transformers model that encodes rows of ids, each under its own adapter and head."""

    def __init__(self, model: Any, tokenizer: FastTokenizer, base: Base, device: str = "cpu") -> None:
        whole: Any = model.eval().requires_grad_(False).to(device)
        self.voice = voice_of(whole) if base.kind == "causal" else None
        self.whole = whole if self.voice else None  # of a base that can write: the trunk with its output layer
        self.model: Any = whole.base_model if base.kind == "causal" else whole
        self.prefix = str(whole.base_model_prefix) if self.voice else ""  # where the whole holds the trunk
        self.tokenizer, self.base, self.device = tokenizer, base, device
        self.name, self.digest, self.kind, self.pooling = base.name, base.digest, base.kind, base.pooling
        self.config = model.config
        self.depth, self.width = shape_of(self.config, base)
        self._host = Mixture(self.model, self.depth)
        self.sessions: WeakKeyDictionary[Network, Session] = WeakKeyDictionary()  # of networks that answer in int8
        self.hands: Hands | None = None  # who compute their rows
        self.full = self  # in full precision: what is merged and exported
        self._nf4: TorchTrunk | None = None
        self._grammars: dict[int, Grammars] = {}  # by the token that ends an answer
        self._making = threading.Lock()  # of a table of tokens: schemas of clients are tried in other threads
        self._trees: bool | None = None  # whether trees of continuations are computed rightly; None: not tried yet
        mixed = self.config.model_type not in architectures.UNMIXED
        stacks = self.kind == "encoder" and mixed and not self.config.is_encoder_decoder
        stacks = stacks and architectures.stacked(self.model, self.depth)
        self._stacks = stacks  # whether its layers can be entered with what left the ones below
        self._joinable: bool | None = None  # whether rows can join others that are being written; None: not tried yet
        self._shares: bool | None = None  # whether prompts can begin behind what they share; None: not tried yet

    def compute_in(self, precision: str) -> None:
        """The precision of the products in which it answers from now on: fp32 or bf16."""
        self._host = Mixture(self.model, self.depth, precision)

    def twin(self) -> TorchTrunk:
        """The same weights in fp32, for another thread."""
        return TorchTrunk(self.whole or self.model, self.tokenizer, self.base, self.device)

    def parameters(self) -> int:
        """How many weights the trunk has, its output layer's included."""
        return sum(p.numel() for p in (self.full.whole or self.full.model).parameters())

    def quantised(self) -> TorchTrunk:
        """The same trunk with NF4 matrices, under a digest of its own; `full` leads back."""
        if self._nf4 is None:
            whole = quantised(self.whole or self.model, self.depth)
            base = replace(self.base, digest=f"{self.digest}+{KIND}")
            self._nf4 = TorchTrunk(whole, self.tokenizer, base, self.device)
            self._nf4.full = self
        return self._nf4

    def save(self, folder: Path) -> None:
        """Weights, configuration and tokenizer as stock transformers opens them."""
        (self.whole or self.model).save_pretrained(folder)
        self.tokenizer.save(folder)

    def inputs(self, rows: Sequence[Tokens]) -> dict[str, Tensor]:
        """What the model's forward takes: ids and mask int64[B, T], and token types for pairs."""
        ids, mask = pad(rows, self.tokenizer.pad)
        made = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self.kind == "nli" and (separator := self.tokenizer.separator) is not None:
            after = (ids == separator).long().cumsum(-1) - (ids == separator).long()
            made["token_type_ids"] = (after.clamp(max=1) * mask).to(self.device)
        return made

    def states(self, rows: Sequence[Tokens], guests: Sequence[Adapter | None]) -> tuple[Tensor, Tensor]:
        """Final hidden states float[B, T, D] (of an nli base: logits float[B, L]) and the mask."""
        inputs = self.inputs(rows)
        if self.config.model_type in architectures.UNMIXED and len({g.digest if g else None for g in guests}) > 1:
            return self._apart(inputs, guests), inputs["attention_mask"]
        return self._read(self._host(guests, **inputs)), inputs["attention_mask"]

    def _read(self, output: Any) -> Tensor:
        return output.logits if self.kind == "nli" else output.last_hidden_state  # type: ignore[no-any-return]

    def _apart(self, inputs: Mapping[str, Tensor], guests: Sequence[Adapter | None]) -> Tensor:
        """A pass for each adapter, where the architecture cannot mix them in one."""
        groups: dict[str | None, list[int]] = {}
        for row, guest in enumerate(guests):
            groups.setdefault(guest.digest if guest else None, []).append(row)
        parts = [
            self._read(self._host([guests[i] for i in rows], **{name: t[rows] for name, t in inputs.items()}))
            for rows in groups.values()
        ]
        order = torch.tensor([i for rows in groups.values() for i in rows], device=self.device)
        return torch.cat(parts)[order.argsort()]

    @torch.inference_mode()
    def encode(self, requests: Sequence[Encode], alive: Alive = always) -> list[Tensor]:
        out: list[Tensor] = [torch.empty(0)] * len(requests)
        together = self._encode_alone(requests, alive, out) if self.sessions else range(len(requests))
        for mine in by_cost([len(requests[i].ids) for i in together], BATCH_TOKENS):
            for alike in self._alike([together[k] for k in mine], requests):
                wanted = [i for i in alike if alive(i)]
                if wanted:
                    self._encode([requests[i] for i in wanted], wanted, out)
        return out

    def _encode_alone(self, requests: Sequence[Encode], alive: Alive, out: list[Tensor]) -> list[int]:
        """Answer those whose networks have a session, row by row; the numbers of the others."""
        found = [self.sessions.get(request.network) for request in requests]

        def answer(rows: Sequence[int]) -> None:
            for i in rows:
                if (session := found[i]) is not None and alive(i):
                    out[i] = self._alone(requests[i], session)

        mine = [i for i, session in enumerate(found) if session is not None]
        assert self.hands is not None
        self.hands.share(mine, [len(request.ids) for request in requests], answer)
        return [i for i, session in enumerate(found) if session is None]

    @torch.inference_mode()
    def _alone(self, request: Encode, session: Session) -> Tensor:
        inputs = self.inputs([request.ids])
        states, head = session(inputs), request.network.head
        return (states if head is None else head(states, inputs["attention_mask"]))[0].float()

    def _alike(self, batch: list[int], requests: Sequence[Encode]) -> list[list[int]]:
        """The batch in parts that one pass can take: BART's classifier wants equally many end tokens in each row."""
        if not self.config.is_encoder_decoder:
            return [batch]
        parts: dict[int, list[int]] = {}
        for i in batch:
            parts.setdefault(requests[i].ids.count(self.config.eos_token_id), []).append(i)
        return list(parts.values())

    def _encode(self, requests: Sequence[Encode], places: Sequence[int], out: list[Tensor]) -> None:
        for rows, states, mask in self._passes([r.ids for r in requests], [r.network.adapter for r in requests]):
            self._apply([requests[row] for row in rows], [places[row] for row in rows], states, mask, out)

    def _passes(
        self, rows: Sequence[Tokens], guests: Sequence[Adapter | None]
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Numbers, final states and mask of rows that are computed together, rows of one guest one after another.

        Rows of the same text share the layers below the first that any of their guests changes.
        """
        levels: dict[int, list[int]] = {}
        floors = self._floors() if self._repeats(rows, guests) else None
        for row, guest in enumerate(guests):
            level = 0 if floors is None else self.depth if guest is None else guest.first_layer
            levels.setdefault(level if self._host.sits(guest) else 0, []).append(row)
        entering: dict[int, Tensor] = {}
        if floors is not None and (upper := [row for level in levels if level for row in levels[level]]):
            texts = list(dict.fromkeys(rows[row] for row in upper))
            numbers = {text: number for number, text in enumerate(texts)}
            entering = floors.below(frozenset(levels) - {0}, self.inputs(texts))
        for level, mine in levels.items():
            mine.sort(key=lambda row: id(guests[row]))
            seated = [guests[row] for row in mine]
            if not level:
                yield mine, *self.states([rows[row] for row in mine], seated)
                continue
            inputs = self.inputs([rows[row] for row in mine])
            longest = inputs["attention_mask"].shape[1]
            states = entering[level][[numbers[rows[row]] for row in mine], :longest]
            if level < self.depth:
                states = self._read(self._host.onward(level, states, seated, inputs))
            yield mine, states, inputs["attention_mask"]

    def _repeats(self, rows: Sequence[Tokens], guests: Sequence[Adapter | None]) -> bool:
        """Whether a text stands here twice below layers that its guests leave alone."""
        if not self._stacks:
            return False
        shared = [row for row, guest in zip(rows, guests, strict=True) if guest is None or guest.first_layer]
        return len(set(shared)) < len(shared)

    def own(self, network: Network) -> float:
        """The part of a pass, from 0 to 1, that a row needs for itself where its text stands beside it already."""
        if not self._stacks or network in self.sessions:
            return 1.0
        return 1 - network.adapter.first_layer / self.depth if network.adapter else 0.0

    def _floors(self) -> Floors | None:
        token = self.tokenizer.ids("a")[0][0]
        return self._host.floors(self.inputs([(token,) * 3, (token,) * 5]))

    def _apply(
        self, requests: Sequence[Encode], places: Sequence[int], states: Tensor, mask: Tensor, out: list[Tensor]
    ) -> None:
        heads: dict[int, list[int]] = {}
        for row, request in enumerate(requests):
            heads.setdefault(id(request.network.head), []).append(row)
        for rows in heads.values():
            head = requests[rows[0]].network.head
            every = len(rows) == len(requests)
            outputs = apply_head(head, states if every else states[rows], mask if every else mask[rows])
            for row, output in zip(rows, outputs, strict=True):
                out[places[row]] = output.float().cpu()

    def score(self, requests: Sequence[Score], alive: Alive = always) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's continuations; raises Unfit where the base cannot write."""
        return self.speaker().scores(requests, self._forward, self.manner(requests), alive)

    def write(self, requests: Sequence[Write], alive: Alive = always) -> list[Written]:
        """Text behind each prompt, in batches; raises Unfit for a base that cannot write or a schema without end."""
        scribe = self.scribe()
        pens = [self.pen(request, bound(alive, place)) for place, request in enumerate(requests)]
        longest = max((len(r.prompt) + r.most for r in requests), default=0)
        scribe.write(pens, len(requests) > 1 and self._shares_beginnings(longest))
        for pen in pens:
            if pen.problem:
                raise pen.problem
        return [pen.written() for pen in pens]

    def scribe(self) -> Scribe:
        """Writes what comes, and takes in more while it writes; raises Unfit where the base cannot write."""
        return Scribe(self.speaker(), self._forward)

    def pen(self, request: Write, wanted: Callable[[], bool] = lambda: True) -> Pen:
        """A request, ready to be written; raises Unfit where its schema cannot be held."""
        return Pen(request, self._guide(request), Transcript(self.tokenizer.read, request.stops, request.hear), wanted)

    def joins(self, request: Write) -> bool:
        """Whether it may join others that are being written: not with more tokens than a layer looks back."""
        return self._joins(len(request.prompt) + request.most)

    def seat(self, scribe: Scribe, pens: Sequence[Pen], joining: bool) -> None:
        """Let these be written with what a scribe is writing, or as a batch of their own."""
        longest = max(len(pen.request.prompt) + pen.request.most for pen in pens)
        scribe.add(pens, len(pens) > 1 and self._shares_beginnings(longest), joining)

    def _forward(self, requests: Sequence[Score | Write], inputs: dict[str, Any]) -> Tensor:
        """The trunk's pass, each request under its own adapter."""
        return self._read(self._host([request.network.adapter for request in requests], **inputs))

    def _guide(self, request: Write) -> Guide | None:
        """What holds a request to its schema."""
        if request.schema is None:
            return None
        end = min(request.ends)
        with self._making:
            if end not in self._grammars:
                self._grammars[end] = Grammars(self.tokenizer.tokenizer, self.speaker().voice.vocabulary, end)
        return self._grammars[end].guide(request.schema, request.most)

    def speaker(self) -> Speaker:
        """What scores continuations with this trunk's output layer; raises Unfit where there is none."""
        if self.voice is None:
            raise Unfit(f"{self.name} has no output layer that it could write with", allowed="a causal language model")
        return Speaker(self.voice, self.tokenizer.pad, self.device, lambda n: by_length(n, BATCH_TOKENS))

    def manner(self, requests: Sequence[Score]) -> Manner:
        """How these are computed: trees and shared beginnings where they were seen to work, within a sliding window."""
        window = architectures.window_of(self.config) or self.tokenizer.limit
        widest = max((len(r.prompt) + sum(map(len, r.choices)) for r in requests), default=0)
        longest = max((len(r.prompt) + max(map(len, r.choices)) for r in requests), default=0)
        trees = self._grows_trees() and widest <= window
        several = len(requests) > 1 or not trees
        return Manner(trees, several and self._shares_beginnings(longest))

    def _grows_trees(self) -> bool:
        if self._trees is None:
            self._trees = trees_work(self.speaker(), self._bare, Network(self))
        return self._trees

    def _shares_beginnings(self, longest: int) -> bool:
        """Whether prompts may begin behind what they share, in rows of at most `longest` tokens."""
        if not self._sees(longest):
            return False
        if self._shares is None:
            self._shares = sharing_works(self.speaker(), self._bare, Network(self), self._grows_trees())
        return self._shares

    def _sees(self, longest: int) -> bool:
        """Whether every layer looks back over so many tokens."""
        return longest <= (architectures.window_of(self.config) or longest)

    def _joins(self, longest: int) -> bool:
        """Whether rows of at most `longest` tokens may join others that are being written."""
        if not self._sees(longest):
            return False
        if self._joinable is None:
            self._joinable = joining_works(self.speaker(), self._bare, Network(self))
        return self._joinable

    def _bare(self, requests: Sequence[Score | Write], inputs: dict[str, Any]) -> Tensor:
        return self._read(self.model(**inputs))

    def open(
        self, config: Mapping[str, JSON] | None = None, every_weight: bool = False, ways: Ways | None = None
    ) -> LiveTrunk:
        """A trainable twin: a fresh adapter over the frozen weights, or every weight its own, or nothing to learn."""
        from loratory.models.live import LiveTrunk, Ways

        return LiveTrunk(self, config, every_weight, ways or Ways())

    @property
    def writes(self) -> bool:
        """Whether it has an output layer that it can write with."""
        return self.voice is not None

    @torch.inference_mode()
    def below(self, first: int, rows: Sequence[Tokens], precision: str) -> Iterator[tuple[int, Tensor]]:
        """Number and states float[T, D] of each row as they enter layer `first`, in batches of like length."""
        for batch in by_length([len(row) for row in rows], BATCH_TOKENS):
            inputs = self.inputs([rows[i] for i in batch])
            with autocast(precision, self.device):
                states = partial.entering(self.model, self.depth, first, inputs)
            for i, row in zip(batch, states, strict=True):
                yield i, row[: len(rows[i])]

    def layers(self) -> tuple[str, int]:
        """The name of the list of layers as PEFT's `layers_pattern` wants it, and its length."""
        name, layers = architectures.layers_of(self.model, self.depth)
        return name.rpartition(".")[2], len(layers)

    def targets(self) -> tuple[tuple[str, ...], bool]:
        """LoRA's target modules of this architecture, and whether it is a known one."""
        return architectures.targets_of(self.model, self.config.model_type, self.depth)

    def transposed(self, targets: Sequence[str]) -> bool:
        """Whether these target modules hold their weights transposed."""
        return architectures.transposed(self.model, targets)

    def strangers(self, targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those target modules that the trunk does not have, and the names that there are."""
        return architectures.strangers(self.model, targets)


def apply_head(head: nn.Module | None, states: Tensor, mask: Tensor) -> Tensor:
    """The head's outputs, over no more columns than the longest of these rows needs."""
    if head is None:
        return states
    longest = int(mask.sum(-1).max())
    return head(states[:, :longest], mask[:, :longest])  # type: ignore[no-any-return]


def shape_of(config: Any, base: Base) -> tuple[int, int]:
    """Depth and width of a transformer; raises BaseModelError for a model that is none."""
    text = config.get_text_config()
    try:
        return int(text.num_hidden_layers), int(text.hidden_size)
    except (AttributeError, TypeError):
        raise BaseModelError(
            f"the base {base.name!r} ({config.model_type}) has no number of layers, or no width",
            where=str(base.folder / "config.json"),
            allowed="a transformer of stacked layers that reads text",
            remedy="choose another base:",
        ) from None


def opener_of(base: Base) -> Any:
    """The class of transformers that opens a base of this kind."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    return {"nli": AutoModelForSequenceClassification, "causal": AutoModelForCausalLM}.get(base.kind, AutoModel)


def load_trunk(base: Base, device: str = "cpu", short_rows: bool = True) -> TorchTrunk:
    """A base's weights in memory, float32; raises BaseModelError when they do not fit its configuration."""
    keep_freed_memory()
    try:
        model, absent = open_model(base, opener_of(base), **attention_of(base.config))
        mute = base.kind == "causal" and any("lm_head" in name for name in absent)  # saved without an output layer
        made_up = ("pooler.",) if base.kind != "nli" else ()
        if missing := sorted(n for n in absent if not any(part in n for part in (*made_up, *["lm_head"] * mute))):
            raise ValueError(f"weights are missing: {', '.join(missing[:4])}")
    except BaseModelError:
        raise
    except Exception as problem:
        raise BaseModelError(
            f"the base {base.name!r} cannot be loaded: {str(problem).splitlines()[0][:300]}",
            where=str(base.folder),
            remedy="check that the folder is complete",
        ) from problem
    if short_rows:
        use_short_attention(model)
    if mute:
        model.set_output_embeddings(None)
    return TorchTrunk(model, FastTokenizer.load(base.files, positions_of(model)), base, device)


def read_configuration(base: Base) -> Any:
    """The base's configuration as transformers reads it, from the bytes that were hashed."""
    from transformers import AutoConfig

    with base.files.private(("config.json",)) as own:
        config = AutoConfig.from_pretrained(str(own), trust_remote_code=False)
    config.name_or_path = str(base.folder)
    return config


def open_model(
    base: Base, opener: Any, look: Callable[[Any], None] = lambda shell: None, /, **more: Any
) -> tuple[Any, set[str]]:
    """A model of transformers in float32, its weights in memory, and the names of those that the base lacks.

    Weights are read once, into the memory where they stay, and are used only when all of them had their digests.
    Weights that are lacking are made up, the same ones every time. `look` sees the model on the meta device, before
    anything is set aside for it. Raises ArtifactError, and what `look` and transformers do.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = read_configuration(base)
    for key in [key for key in more if key != "attn_implementation"]:
        setattr(config, key, more.pop(key))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # which class an Auto class would take: it opens
        shell = opener.from_config(config, dtype=torch.float32, **more)  # folders alone
    look(shell)
    widen = not base.config.get("quantization_config")
    weights: dict[str, Tensor] = {}
    for name in weight_files(base):
        weights |= read_tensors(base.files, name, widen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, info = type(shell).from_pretrained(
            None,
            config=shell.config,
            state_dict=weights,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    _keep_generation(model, base)
    return model, set(info["missing_keys"])


def _keep_generation(model: Any, base: Base) -> None:
    """What the base says of writing goes with the model where it is saved."""
    if getattr(model, "generation_config", None) is None or not base.files.has("generation_config.json"):
        return
    from transformers import GenerationConfig

    with base.files.private(("generation_config.json",)) as own:
        model.generation_config = GenerationConfig.from_pretrained(str(own))


def attention_of(config: Mapping[str, Any]) -> dict[str, str]:
    """What has to be said of attention to open an architecture."""
    return {"attn_implementation": "eager"} if config.get("model_type") in ("deberta", "deberta-v2") else {}


def positions_of(model: nn.Module) -> int | None:
    """How many tokens the model can place; where positions have a padding row (RoBERTa, MPNet) they start behind it."""
    config: Any = model.config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    behind = [part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None]
    return most - max(behind, default=0) if most and most > 0 else None


class Pool:
    """One trunk per digest and process; without `keep` only as long as somebody else has it."""

    def __init__(self, device: str = "cpu", short_rows: bool = True, keep: bool = True) -> None:
        self.device, self._short_rows, self._precision = device, short_rows, "fp32"
        self._known: MutableMapping[str, TorchTrunk] = {} if keep else WeakValueDictionary()

    def base(self, name: str) -> TorchTrunk:
        """The trunk of a base that a spec names."""
        return self.add(resolve(name))

    def add(self, base: Base) -> TorchTrunk:
        """The trunk of a resolved base."""
        found = self._known.get(base.digest)
        if found is None:
            found = self._known[base.digest] = load_trunk(base, self.device, self._short_rows)
            found.compute_in(self._precision)
        return found

    def compute_in(self, precision: str) -> None:
        """Answer in fp32 or bf16 from now on, with every trunk that is here or comes."""
        self._precision = precision
        for trunk in list(self._known.values()):
            trunk.compute_in(precision)

    def get(self, name: str, digest: str, source: Path | Files) -> TorchTrunk:
        """By digest: already loaded, else the artifact's own trained model/, else the base, else a copy in base_<L>/.

        Files inside the artifact are those that its manifest lists, so the recorded digest names them.
        """
        files = files_of(source)
        if (found := self._known.get(digest)) is not None:
            return found
        plain, _, kind = digest.partition("+")
        if kind == KIND:
            return self.get(name, plain, files).quantised()
        inside = [top for top in files.tops() if files.within(top).has("config.json")]
        if "model" in inside:
            return self.add(self._inside(name, digest, "model", files))
        try:
            return self.add(find(name, digest, files.folder))
        except BaseModelError:
            copies = [top for top in inside if top.startswith("base_")]
            if not copies:
                raise
            trunk = self.add(self._inside(name, digest, copies[0], files))
            trunk.tokenizer.widen(_described(files).get("limit", 0))  # its files were written for one fit
            return trunk

    def _inside(self, name: str, digest: str, inner: str, files: Files) -> Base:
        facts, own = _described(files), files.within(inner)
        return replace(
            describe(str(own.folder), own), name=name, digest=digest, kind=facts["kind"], pooling=facts["pooling"]
        )


def _described(files: Files) -> dict[str, Any]:
    """What an artifact says of its trunk."""
    file = next(file for name in ("encoder", "decoder") if files.has(file := f"{name}.json"))
    return dict(files.json(file)["trunk"])
