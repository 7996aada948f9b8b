"""Texts that we wrote to part a form from the fit: what tokenizers, padding and cutting get wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

FILLER = "the quick answer to a long question is seldom the best one, so read it twice before you reply. "
EXTRA_TOKENS = 40  # of the text that is longer than the window

WRITTEN_TEXTS: Mapping[str, str] = {
    "empty": "",
    "space": " ",
    "one-letter": "a",
    "one-digit": "7",
    "full-stop": ".",
    "emoji": "my order is late \N{POUTING FACE}\N{POUTING FACE} please help \N{PERSON WITH FOLDED HANDS}",
    "zwj-family": "for the whole \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL} as before",
    "skin-tone": "thanks \N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} all good",
    "flag": "sent from \N{REGIONAL INDICATOR SYMBOL LETTER D}\N{REGIONAL INDICATOR SYMBOL LETTER E} to here",
    "arabic": "\u0645\u0631\u062d\u0628\u0627\u060c \u0628\u0637\u0627\u0642\u062a\u064a "
    "\u0644\u0627 \u062a\u0639\u0645\u0644",
    "hebrew-mixed": "code \u05e9\u05dc\u05d5\u05dd 42 \u05e2\u05d5\u05dc\u05dd end",
    "chinese": "\u6211\u7684\u94f6\u884c\u5361\u88ab\u9501\u4f4f\u4e86\uff0c\u8bf7\u5e2e\u5fd9",
    "japanese": "\u30ab\u30fc\u30c9\u304c\u4f7f\u3048\u307e\u305b\u3093",
    "korean": "\uce74\ub4dc\uac00 \uc548 \ub3fc\uc694",
    "thai": "\u0e1a\u0e31\u0e15\u0e23\u0e02\u0e2d\u0e07\u0e09\u0e31\u0e19\u0e2b\u0e32\u0e22",
    "devanagari": "\u092e\u0947\u0930\u093e \u0915\u093e\u0930\u094d\u0921 \u0916\u094b \u0917\u092f\u093e",
    "control-characters": "first\x00line\x07 and\x1b[31m red\x7f text",
    "line-breaks": "one\r\ntwo\n\n\nthree\tfour\x0bfive\x0csix",
    "no-break-spaces": "a\u00a0b\u2003c\u200bd\ufeffe",
    "soft-hyphen": "pass\u00adword re\u00adset",
    "look-alikes": "my p\u0430ssw\u043erd w\u0430s st\u043elen, \u0440le\u0430se l\u043e\u0441k my \u0441\u0430rd",
    "full-width": "\uff30\uff41\uff59\uff4d\uff45\uff4e\uff54 \uff11\uff12\uff13",
    "accents": "L'\u00e9t\u00e9 o\u00f9 la cr\u00e8me br\u00fbl\u00e9e co\u00fbta na\u00efvement 5\u00a0\u20ac",
    "accents-combining": "Le\u0301te\u0301 ou\u0300 la cre\u0300me",
    "sharp-s-and-dotted-i": "STRA\u00dfE \u0130stanbul \u0131s\u0131k \ufb01nance",
    "upper-case": "WHY WAS I CHARGED TWICE FOR THE SAME THING",
    "mixed-case": "wHy Was mY PassWORD rEset bY SomeONE",
    "numbers": "on 2024-02-29 at 23:59:60 I paid 1,234.50 and 0.001 and -7e-3, ref 00012345678901234567890",
    "punctuation": "?!... (((what))) -- 'no' \"yes\" \u201cno\u201d \u2026 #tag @name a_b a/b a\\b "
    '<b>x</b> &amp; {"label": 1}',
    "special-tokens": "[CLS] [SEP] [PAD] [MASK] <s> </s> <|im_end|> <|endoftext|>",
    "one-long-word": "a" * 300,
    "repeated-word": "no " * 60,
    "url": "see https://example.com/a?b=c&d=%20e#f or mail first.last+tag@example.co.uk",
    "private-use": "\ue000\uf8ff\U000f0000 and \u2028 a line",
}


def fill_window(max_tokens: int, count_tokens: Callable[[str], int]) -> Mapping[str, str]:
    """The longest text that a window of tokens takes whole, and one that is longer than it."""
    per_filler = max(count_tokens(FILLER * 3) - count_tokens(FILLER * 2), 1)
    words = (FILLER * (max_tokens // per_filler + 2)).split()
    low, high = 1, len(words)
    while low < high:  # the most words that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(" ".join(words[:middle])) <= max_tokens else (low, middle - 1)
    longer = " ".join(words[:low]) + " " + FILLER * (EXTRA_TOKENS // per_filler + 1)
    return {"longest": " ".join(words[:low]), "longer-than-window": longer.strip()}
