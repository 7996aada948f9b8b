"""Text that is told while it is written: whole characters, nothing of a stop string, and all of it in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from loratory.backbones.generation.detokenizer import REPLACEMENT_CHARACTER, Detokenizer
from loratory.backbones.loading.tokenizers import FastTokenizer
from tiny_models import make_bpe_tokenizer

Read = Callable[[Sequence[int]], str]
TEXT = st.text(st.sampled_from("aab cß中😀é\n"), max_size=12)
BYTES = st.one_of(TEXT.map(str.encode), st.binary(max_size=3))
STOPS = st.lists(st.text(st.sampled_from("ab cß中"), min_size=1, max_size=4), max_size=3).map(tuple)


@cache
def byte_level() -> FastTokenizer:
    return FastTokenizer(make_bpe_tokenizer(start=False), 64)


@cache
def fallback() -> FastTokenizer:
    """As Llama 2 has it: words begin with a low line, and what is in no word is spelled in bytes."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁ab", "中"]
    vocabulary, merges = {word: k for k, word in enumerate(words)}, [("▁", "a"), ("▁a", "b")]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return FastTokenizer(PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>"), 64)  # type: ignore[no-untyped-call]


def byte_ids(spelled: bytes) -> list[int]:
    """A token for each byte: GPT-2's alphabet has the printable ones for themselves, the others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte if byte in plain else 256 + others.index(byte)) for byte in spelled]
    return list(byte_level().tokenizer.convert_tokens_to_ids(letters))


def feed_detokenizer(read: Read, ids: Sequence[int], stops: tuple[str, ...]) -> tuple[list[str], str, str, int]:
    """Pieces, text, what ended it, and how many ids it took."""
    heard: list[str] = []
    transcript = Detokenizer(read, stops, heard.append)
    for size in range(1, len(ids) + 1):
        if ended := transcript.update(ids[:size], final=size == len(ids)):
            return heard, transcript.text, ended, size
    return heard, transcript.text, "", len(ids)


def plainly(read: Read, ids: Sequence[int], stops: tuple[str, ...]) -> tuple[str, str, int]:
    """The same, all read again at each step."""
    for size in range(1, len(ids) + 1):
        text = read(ids[:size])
        text = text if size == len(ids) else text.rstrip(REPLACEMENT_CHARACTER)
        if starts := [text.find(stop) for stop in stops if stop in text]:
            return text[: min(starts)], "stop", size
    return read(ids), "", len(ids)


@settings(max_examples=300, deadline=None)
@given(st.lists(BYTES, max_size=8), STOPS)
def test_pieces_join_to_the_text_byte_by_byte(parts: list[bytes], stops: tuple[str, ...]) -> None:
    read, ids = byte_level().decode, byte_ids(b"".join(parts))
    heard, text, ended, size = feed_detokenizer(read, ids, stops)
    assert (text, ended, size) == plainly(read, ids, stops)
    assert "".join(heard) == text
    assert "" not in heard


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, len(byte_level().tokenizer) - 1), max_size=30), STOPS)
def test_pieces_join_to_the_text_of_any_tokens(ids: list[int], stops: tuple[str, ...]) -> None:
    read = byte_level().decode
    heard, text, ended, size = feed_detokenizer(read, ids, stops)
    assert (text, ended, size) == plainly(read, ids, stops)
    assert "".join(heard) == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(" ab中ß😀"), max_size=12), STOPS)
def test_pieces_join_to_the_text_of_words_and_bytes(text: str, stops: tuple[str, ...]) -> None:
    tokenizer = fallback()
    ids = tokenizer.tokenizer(("▁" + text).replace(" ", "▁"), add_special_tokens=False)["input_ids"]
    heard, found, _, _ = feed_detokenizer(tokenizer.decode, ids, stops)
    starts = [text.find(stop) for stop in stops if stop in text]
    assert tokenizer.decode(ids) == text
    assert "".join(heard) == found
    assert starts or found == text
    assert text.startswith(found)
    assert not any(stop in found for stop in stops)


def test_a_character_is_told_with_its_last_byte() -> None:
    heard: list[str] = []
    transcript = Detokenizer(byte_level().decode, (), heard.append)
    ids = byte_ids("a中b".encode())
    seen = []
    for size in range(1, len(ids) + 1):
        transcript.update(ids[:size])
        seen.append("".join(heard))
    assert seen == ["a", "a", "a", "a中", "a中b"]


def test_what_could_begin_a_stop_string_waits() -> None:
    heard: list[str] = []
    transcript = Detokenizer(byte_level().decode, ("abc", "b\n"), heard.append)
    ids = byte_ids(b"xabab\nzzz")
    seen = []
    for size in range(1, 7):
        ended = transcript.update(ids[:size])
        seen.append("".join(heard))
    assert seen == ["x", "x", "x", "xab", "xab", "xaba"]
    assert ended == "stop"


def test_a_long_text_is_not_read_again_and_again() -> None:
    sizes: list[int] = []

    def read(ids: Sequence[int]) -> str:
        sizes.append(len(ids))
        return byte_level().decode(ids)

    ids = byte_ids("中a".encode() * 200)
    heard, text, _, _ = feed_detokenizer(read, ids, ("stop",))
    assert text == "".join(heard) == "中a" * 200
    assert max(sizes) <= 8


def test_a_listener_that_raises_hears_no_more() -> None:
    heard: list[str] = []

    def hear(piece: str) -> None:
        if len(heard) == 2:
            raise OSError("the line is cut")
        heard.append(piece)

    transcript = Detokenizer(byte_level().decode, (), hear)
    ids = byte_ids(b"abcd")
    assert [transcript.update(ids[:size]) for size in (1, 2, 3)] == ["", "", "abandoned"]
    assert transcript.text == "".join(heard) == "ab"
