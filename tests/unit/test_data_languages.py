# ruff: noqa: RUF001 (these letters are of other scripts)
"""The language of texts is recognised, and a base that was not written for it is said; a field is no language."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loratory.backbones.loading.bases import locate_base
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.data.quality.languages import (
    EVERYDAY_WORDS,
    FUNCTION_WORDS,
    OTHER_SCRIPTS,
    SubwordTokenizer,
    inspect_languages,
    warn_of_languages,
)
from loratory.data.quality.languages import detect_language as language
from loratory.experiment.prepare import prepare_split
from loratory.experiment.spec_loading import load_spec, resolve_bases_and_prompts
from loratory.protocols.events import ignore_event

TEXTS: Mapping[str, Sequence[str]] = {
    "German": (
        "Wo finde ich die Rechnung für meine letzte Bestellung?",
        "Der Aufzug im zweiten Stock steht seit gestern still.",
        "Bitte schicken Sie mir die Unterlagen noch einmal zu.",
    ),
    "French": (
        "Où puis-je trouver la facture de ma dernière commande ?",
        "L'ascenseur du deuxième étage est en panne depuis hier.",
        "Pouvez-vous me renvoyer les documents ?",
    ),
    "Spanish": (
        "¿Dónde encuentro la factura de mi último pedido?",
        "El ascensor del segundo piso está parado desde ayer.",
        "Por favor, envíenme los documentos otra vez.",
    ),
    "Italian": (
        "Dove posso trovare la fattura del mio ultimo ordine?",
        "L'ascensore al secondo piano è fermo da ieri.",
    ),
    "Portuguese": (
        "Onde encontro a fatura do meu último pedido?",
        "O elevador do segundo andar está parado.",
    ),
    "Dutch": ("Waar vind ik de factuur van mijn laatste bestelling?", "De lift op de tweede verdieping staat stil."),
    "Polish": (
        "Gdzie znajdę fakturę za moje ostatnie zamówienie?",
        "Winda na drugim piętrze nie działa od wczoraj.",
        "Karta nie została przyjęta, chociaż na koncie są pieniądze.",
    ),
    "Czech": (
        "Kde najdu fakturu za svou objednávku a jak ji mohu stáhnout?",
        "Výtah se zastavil a už nejede.",
    ),
    "Swedish": (
        "Var hittar jag fakturan för min senaste beställning?",
        "Hissen på andra våningen har inte fungerat och är trasig.",
    ),
    "Finnish": (
        "Miten voin maksaa laskun ja missä on?",
        "Hissi ei ole toiminut eilisen jälkeen, mutta kukaan ei tule.",
    ),
    "Hungarian": ("Hol van a számla, és hogyan lehet azt letölteni?", "A lift nem jár, mert egy alkatrész eltört."),
    "Romanian": (
        "Unde este factura pentru ultima mea comandă?",
        "Liftul de la etajul doi nu merge din cauza ei.",
    ),
    "Turkish": (
        "Faturayı nerede ve nasıl bulabilirim?",
        "Asansör dünden beri çalışmıyor, bu çok kötü ama kimse bir şey yapmadı.",
        "Kart için bir sorun var mı, neden olmadı?",
    ),
    "Chinese": ("我在哪里可以找到上一个订单的发票？", "二楼的电梯从昨天起就停了。", "请再给我发一次文件。"),
    "Japanese": ("前回の注文の請求書はどこで見られますか。", "書類をもう一度送ってください。"),
    "Korean": ("지난 주문의 영수증은 어디에서 볼 수 있나요?", "서류를 다시 보내 주세요."),
    "Arabic": ("أين أجد فاتورة طلبي الأخير؟", "أرجو إرسال الوثائق مرة أخرى.", "لم تقبل البطاقة في الصراف الآلي."),
    "Cyrillic": ("Где найти счёт за мой последний заказ?", "Лифт на втором этаже стоит со вчерашнего дня."),
    "Greek": ("Πού θα βρω το τιμολόγιο;", "Το ασανσέρ δεν λειτουργεί από χθες."),
    "Hebrew": ("איפה אפשר למצוא את החשבונית?", "המעלית בקומה השנייה לא עובדת."),
    "Devanagari": ("मुझे अपने पिछले ऑर्डर का बिल कहाँ मिलेगा?", "मशीन ने कार्ड नहीं लिया।"),
    "Thai": ("ฉันจะหาใบเสร็จได้ที่ไหน", "ลิฟต์เสียตั้งแต่เมื่อวาน"),
}
ENGLISH = {  # fields with words of their own
    "banking": ("My contactless card has not arrived yet, what do I do?", "Why was I charged for the withdrawal?"),
    "medical": (
        "The patient denies dyspnoea, haemoptysis and paroxysmal tachycardia, and was given amoxicillin.",
        "Laparoscopic cholecystectomy was performed on account of choledocholithiasis with jaundice.",
    ),
    "legal": (
        "The Licensee shall indemnify and hold harmless the Licensor notwithstanding the foregoing.",
        "This Agreement is governed by the laws of the State without regard to conflict of laws principles.",
    ),
    "sql": ("SELECT COUNT(*) FROM head WHERE age > 56", "How many heads of the departments are older than 56?"),
    "maths": ("Let G be an abelian group of order 12 and let phi be a homomorphism; what is its kernel?",),
    "chat": ("hey u free 2nite? call me when ur done x", "WINNER!! you have been selected 4 a £900 prize, txt now"),
    "upper case": ("WHERE IS MY CARD AND WHY WAS I CHARGED FOR IT?", "THE LIFT ON THE SECOND FLOOR DOES NOT WORK."),
    "titles": ("Stainless steel kettle cordless", "Garden hose holder wall mounted", "Desk lamp dimmable white"),
}


def inspect_texts(texts: Sequence[str], **bases: SubwordTokenizer) -> dict[str, Any]:
    return inspect_languages(texts, [f"a.csv:{line}" for line in range(2, len(texts) + 2)], bases)


def unfit(texts: Sequence[str], base: SubwordTokenizer) -> list[str]:
    return [one["language"] for one in inspect_texts(texts, base=base)["bases"]["base"]["unfit"]]


@pytest.fixture(scope="module", params=["minilm", "seedling"])
def english(request: pytest.FixtureRequest) -> FastTokenizer:
    return FastTokenizer.load(locate_base(request.param), None)


@dataclass(frozen=True)
class Made:
    """A tokenizer that cuts each word by a rule: letters of a piece, 0 for unknown; signs between words are dropped."""

    size: Callable[[str], int]

    def tokenize_with_offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int, bool]]]:
        return [self._of(text) for text in texts]

    def _of(self, text: str) -> list[tuple[int, int, bool]]:
        made, place = [], 0
        for word in text.split(" "):
            size = self.size(word) or len(word) or 1
            ends = range(place, place + len(word), size)
            made += [(start, min(start + size, place + len(word)), not self.size(word)) for start in ends]
            place += len(word) + 1
        return made


def latin(word: str) -> bool:
    return all(sign < "\u0250" for sign in word)


SEVERAL = Made(lambda word: 6)
EVERYTHING_BY_LETTER = Made(lambda word: 1)
ENGLISH_WORDS = set(EVERYDAY_WORDS["English"].split()) | FUNCTION_WORDS["English"]
GERMAN_WORDS = {word.casefold() for word in EVERYDAY_WORDS["German"].split()} | FUNCTION_WORDS["German"]
OF_GERMAN = Made(lambda word: 20 if word.casefold() in GERMAN_WORDS else 3)
OF_ARABIC = Made(lambda word: 1 if latin(word) else 4)
OF_CHINESE = Made(lambda word: 3 if word in ENGLISH_WORDS else 2 if latin(word) else 1)


@pytest.mark.parametrize("name", TEXTS)
def test_a_language_is_recognised(name: str) -> None:
    assert {language(text) for text in TEXTS[name]} == {name}


@pytest.mark.parametrize("text", ["", "12 / 7", "ok", "ERR-4711 QZX", "\U0001f600"])
def test_what_tells_nothing_is_no_language(text: str) -> None:
    assert language(text) == ""


@pytest.mark.parametrize("name", TEXTS)
def test_a_base_for_english_is_said_on_texts_of_another_language(name: str, english: FastTokenizer) -> None:
    assert unfit(TEXTS[name], english) == [name]


@pytest.mark.parametrize("field", ENGLISH)
def test_a_field_or_capitals_are_no_language(field: str, english: FastTokenizer) -> None:
    assert unfit(ENGLISH[field] * 3, english) == []
    assert inspect_texts(ENGLISH[field], base=english)["bases"]["base"]["languages"] == ["English"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_multilingual_base_and_one_that_tells_nothing_are_not_accused(name: str) -> None:
    assert unfit(TEXTS[name], SEVERAL) == []
    if name in FUNCTION_WORDS:  # a toy's vocabulary cuts the words of all languages alike
        assert unfit(TEXTS[name], EVERYTHING_BY_LETTER) == []


def test_a_base_for_another_language_is_said_on_english_and_not_on_its_own() -> None:
    english = ENGLISH["banking"]
    assert (unfit(english, OF_GERMAN), unfit(TEXTS["German"], OF_GERMAN)) == (["English"], [])
    assert (unfit(english, OF_CHINESE), unfit(TEXTS["Chinese"], OF_CHINESE)) == (["English"], [])
    assert (unfit(english, OF_ARABIC), unfit(TEXTS["Arabic"], OF_ARABIC)) == (["English"], [])
    assert inspect_texts(english, base=OF_CHINESE)["bases"]["base"]["languages"][0] == "Chinese"


def test_letters_that_a_base_does_not_know_are_counted() -> None:
    lacks = Made(lambda word: 8 if latin(word) else 0)
    report = inspect_texts(TEXTS["Cyrillic"], base=lacks)
    (one,) = report["bases"]["base"]["unfit"]
    assert (one["language"], one["unit"], one["unknown"]) == ("Cyrillic", "letter", 1.0)
    assert "in Cyrillic script, first a.csv:2" in next(what for what, _ in warn_of_languages(report))


def test_texts_without_function_words_are_told_by_their_own_words(english: FastTokenizer) -> None:
    titles = ["Wasserkocher Edelstahl kabellos", "Gartenschlauch Halterung Wandmontage", "Kinderwagen Regenschutz"]
    assert unfit(titles, english) == [""]
    assert unfit(["Gdje mogu pronaći račun za posljednju narudžbu", "Dizalo na drugom katu stoji"], english) == [""]
    ((what, _),) = warn_of_languages(inspect_texts(titles, minilm=english))
    assert what.startswith("the texts are names, terms or of a language that is not known here")


def test_a_fifth_of_the_texts_is_said_and_a_few_are_not(english: FastTokenizer) -> None:
    texts = [*ENGLISH["banking"] * 6, *TEXTS["German"], *TEXTS["French"][:1]]
    report = inspect_texts(texts, minilm=english)
    assert [(one["language"], one["texts"], one["first"]) for one in report["found"]] == [("English", 12, "a.csv:2")]
    assert not list(warn_of_languages(report))
    report = inspect_texts([*ENGLISH["banking"] * 3, *TEXTS["German"]], minilm=english)
    ((what, do),) = warn_of_languages(report)
    assert what.startswith(
        "33% of the texts are in German, first a.csv:8, which is not a language of the base minilm: "
    )
    assert do.endswith("base: intfloat/multilingual-e5-small")
    assert json.loads(json.dumps(report)) == report


def test_every_base_of_the_ladder_is_looked_at(tmp_path: Path) -> None:
    rows = [{"text": f"{text} {n} {'x' * n}", "label": "ab"[n % 2]} for n in range(30) for text in TEXTS["German"][:1]]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = (
        "name: a\ntask: {kind: classify}\ndata: {path: a.jsonl, near_duplicates: 1.0, suspects: false}\nbase: minilm\n"
        "ladder: [tfidf, head, {other: {regime: head, base: seedling}}]\n"
    )
    (tmp_path / "a.yaml").write_text(spec, encoding="utf-8")
    report = prepare_split(resolve_bases_and_prompts(load_spec(str(tmp_path / "a.yaml"))), ignore_event).quality
    said = [one["what"] for one in report["warnings"] if "not a language of the base" in one["what"]]
    assert [what.split(" of the base ")[1].split(":")[0] for what in said] == ["minilm", "seedling"]
    assert report["languages"]["bases"]["minilm"]["languages"] == ["English"]


def test_each_language_has_its_words() -> None:
    assert EVERYDAY_WORDS.keys() == FUNCTION_WORDS.keys()
    assert all(len(words.split()) >= 30 for words in EVERYDAY_WORDS.values())
    assert {language(words) for words in OTHER_SCRIPTS.values()} == OTHER_SCRIPTS.keys()
