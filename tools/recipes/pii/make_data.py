"""Write messages.jsonl from the authored templates, the same on every run with the same version of Faker.

`{LABEL}` in templates.yaml becomes a labelled span, `{LABEL.form}` one of a narrower form; `{order}` and the like are
text that only looks like personal data. Faker fills names, addresses and numbers of the locales below; every card and
account has valid check digits and belongs to nobody we know of, mail domains are those of RFC 2606. Run it as
`python tools/recipes/pii/make_data.py` with `pip install Faker==40.54.0`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from loratory.predictors.validators import is_iban, is_luhn_valid, is_social_security_number

FOLDER = Path(__file__).resolve().parent
RECIPE_FOLDER = FOLDER.parents[2] / "src" / "loratory" / "bundled_recipes" / FOLDER.name  # where the data is written
SEED = 20265
MAX_ROWS_PER_TEMPLATE = 9  # rows of one template at most
LOCALES = "en_US en_GB en_AU en_CA en_IN de_DE fr_FR es_ES it_IT nl_NL sv_SE pl_PL da_DK".split()
AMERICAN_LABELS = frozenset({"US_SSN", "US_DRIVER_LICENSE"})  # a template with one of them is filled in en_US
LOCALES_BY_OPENING = {"Sehr geehrte": "de_DE", "Bonjour": "fr_FR", "Hola": "es_ES"}
DOMAINS = ("example.com", "example.org", "example.net")
SLOT = re.compile(r"\{([A-Z_]+|[a-z]+)(?:\.([a-z]+))?\}")
TITLES = "Mr. Mrs. Ms. Dr. Prof. Mr Ms Dr Sir".split()
LANGUAGES = "German French Spanish Italian Dutch Swedish Polish Danish Turkish Korean Ukrainian".split()
NATIONS = [*LANGUAGES, *"American British Irish Indian Nigerian Brazilian Kenyan".split()]
BELIEFS = "Catholic Protestant Muslim Buddhist Sikh Socialist Conservative Quaker Hindu Methodist".split()
NRP_VALUES = {"tongue": LANGUAGES, "nation": NATIONS, "faith": BELIEFS, "": [*NATIONS, *BELIEFS]}
COUNTRIES = (
    "Norway,Portugal,Kenya,Canada,Japan,Chile,Greece,Morocco,New Zealand,South Korea,the United States,Austria,Vietnam,"
    "Iceland,Peru,Egypt,Poland,Ireland,Thailand,Ghana"
).split(",")
STATES = "Ohio,Texas,California,New York,Florida,Oregon,Maine,Nevada,Georgia,New Mexico".split(",")
ITALIAN = "Bergamo Bologna Cremona Ferrara Genova Lecce Lucca Mantova Modena Palermo Parma Pavia Siena Trento".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PRODUCTS = (
    "the Madison desk lamp,a Berlin messenger bag,the Victoria sofa,an Oslo rain jacket,a Max 4 drill,"
    "the Paris oven dish,the Orlando bike rack,a Jasmine tea set,the Vega 12 tent,a Carter tool box"
).split(",")
DATES = ("%d/%m/%Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d.%m.%Y", "%d %b", "%A, %d %B")
LICENSES = ("?#######", "########", "??######", "?###-####-####", "###-##-####?")


@dataclass(frozen=True)
class Template:
    """One authored template."""

    name: str
    text: str


@dataclass
class TemplateFiller:
    """What fills the slots of one row: a locale's Faker, chance, and the person that the row is about."""

    fake: Any
    locale: str
    random: Random
    context: dict[str, str] = field(default_factory=dict)

    def pick(self, values: Any) -> str:
        """One of the values."""
        return str(self.random.choice(list(values)))

    def fill_digits(self, form: str) -> str:
        """A form with a digit for every #, one above 0 for every + and a capital letter for every ?."""
        signs = {"#": "0123456789", "+": "123456789", "?": "ABCDEFGHJKLMNPRSTVWXYZ"}
        return "".join(self.pick(signs[sign]) if sign in signs else sign for sign in form)


def read_templates(folder: Path = FOLDER) -> list[Template]:
    """The templates in the order of the file."""
    kinds = YAML(typ="safe", pure=True).load((folder / "templates.yaml").read_text(encoding="utf-8"))
    return [
        Template(f"{kind}-{number}", line.replace("\\n", "\n"))
        for kind, lines in kinds.items()
        for number, line in enumerate(lines.strip().splitlines(), 1)
    ]


def to_mail_name(name: str) -> str:
    """A name in the signs that a mail address has."""
    bare = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("ł", "l").replace("ø", "o"))
    return re.sub(r"[^a-z]+", ".", bare.encode("ascii", "ignore").decode().lower()).strip(".")


def make_person(filling: TemplateFiller, form: str) -> str:
    """A name: whole, given or family name."""
    title = filling.context.pop("title", "").rstrip(".")
    named = {"Mr": "first_name_male", "Sir": "first_name_male", "Mrs": "first_name_female", "Ms": "first_name_female"}
    first = getattr(filling.fake, "first_name_male" if form == "man" else named.get(title, "first_name"))()
    last = filling.fake.last_name()
    filling.context.setdefault("mail", to_mail_name(f"{first} {last}"))
    if form in ("first", "man"):
        return str(first)
    if form == "last":
        return str(last)
    middle = f" {filling.fill_digits('?')}." if filling.random.random() < 0.08 else ""
    return f"{first}{middle} {last}"


def make_street(filling: TemplateFiller, form: str) -> str:
    """A street and number, on one line."""
    return " ".join(str(filling.fake.street_address()).replace("\n", ", ").split())


def make_place(filling: TemplateFiller, form: str) -> str:
    """A city, state or country."""
    if form == "country":
        return filling.pick(COUNTRIES)
    if form == "state":
        return filling.pick(STATES)
    # Faker takes Italian cities from a set, in an order that no seed fixes.
    return filling.pick(ITALIAN) if filling.locale == "it_IT" else str(filling.fake.city())


def make_organization(filling: TemplateFiller, form: str) -> str:
    """An invented company; Faker's Dutch and Indian ones are partly real."""
    if filling.locale in ("nl_NL", "en_IN"):
        return f"{filling.fake.last_name()} {filling.pick(('B.V.', 'Group', 'Services', '& Co.'))}"
    return str(filling.fake.company())


def make_card_number(filling: TemplateFiller, form: str) -> str:
    """A number with a valid last digit, in blocks or not."""
    body = filling.fill_digits(filling.pick(("4###############", "5##############", "37#############")))[:-1]
    body = body if body.startswith("37") else body.ljust(15, "7")[:15]
    number = next(f"{body}{last}" for last in range(10) if is_luhn_valid(f"{body}{last}"))
    sign = filling.pick((" ", "-", "", ""))
    return number if len(number) != 16 else sign.join(number[start : start + 4] for start in range(0, 16, 4))


def make_iban(filling: TemplateFiller, form: str) -> str:
    """A valid IBAN, in blocks of four or not."""
    number = str(filling.fake.iban())
    if filling.random.random() < 0.6:
        return number
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def make_email(filling: TemplateFiller, form: str) -> str:
    """An address at a domain of RFC 2606, mostly after the name that was said."""
    name = filling.context.get("mail") if form != "other" and filling.random.random() < 0.7 else None
    name = name or to_mail_name(filling.fake.last_name()) + filling.pick(("", "", ".office", "77", "_1990"))
    return f"{name}@{filling.pick(DOMAINS)}"


def make_date_or_time(filling: TemplateFiller, form: str) -> str:
    """A date, a time of day or a day of the week."""
    if form == "day":
        return filling.pick(DAYS)
    if form == "time":
        hour, minute = filling.random.randint(7, 21), filling.random.randrange(0, 60, 5)
        half = "am" if hour < 12 else "pm"
        return filling.pick(
            (f"{hour}:{minute:02}", f"{(hour - 1) % 12 + 1}:{minute:02} {half}", f"{hour:02}.{minute:02}")
        )
    years = (1938, 2008) if form == "birth" else (2023, 2026)
    day = date(filling.random.randint(*years), 1, 1) + timedelta(days=filling.random.randrange(365))
    return day.strftime("%d.%m.%Y" if form == "numbers" else filling.pick(DATES))


def make_domain(filling: TemplateFiller, form: str) -> str:
    """A site under a reserved name."""
    word = to_mail_name(filling.fake.last_name()).replace(".", "-")
    site = f"{word}.{filling.pick(DOMAINS)}"
    return filling.pick((f"www.{site}", f"https://www.{site}/", f"https://{site}/login", site))


def make_social_security_number(filling: TemplateFiller, form: str) -> str:
    """A social security number that could be issued."""
    while not is_social_security_number(number := filling.fill_digits("###-##-####")):
        pass
    return number


def make_ip_address(filling: TemplateFiller, form: str) -> str:
    """An IPv4 address, now and then an IPv6 one."""
    return str(filling.fake.ipv6() if filling.random.random() < 0.15 else filling.fake.ipv4())


def make_age(filling: TemplateFiller, form: str) -> str:
    """An age in years."""
    bounds = {"child": (6, 14), "young": (18, 27), "old": (67, 98)}
    return str(filling.random.randint(*bounds.get(form, (18, 88))))


def make_title(filling: TemplateFiller, form: str) -> str:
    """A form of address, which the next name goes with."""
    filling.context["title"] = filling.pick(TITLES)
    return filling.context["title"]


LABEL_MAKERS: Mapping[str, Callable[[TemplateFiller, str], str]] = {
    "PERSON": make_person,
    "STREET_ADDRESS": make_street,
    "GPE": make_place,
    "ORGANIZATION": make_organization,
    "PHONE_NUMBER": lambda filling, form: str(filling.fake.phone_number()),
    "CREDIT_CARD": make_card_number,
    "EMAIL_ADDRESS": make_email,
    "IBAN_CODE": make_iban,
    "US_SSN": make_social_security_number,
    "DATE_TIME": make_date_or_time,
    "AGE": make_age,
    "IP_ADDRESS": make_ip_address,
    "DOMAIN_NAME": make_domain,
    "TITLE": make_title,
    "ZIP_CODE": lambda filling, form: str(filling.fake.postcode()),
    "NRP": lambda filling, form: filling.pick(NRP_VALUES[form]),
    "US_DRIVER_LICENSE": lambda filling, form: filling.fill_digits(filling.pick(LICENSES)),
}


def make_tracking_number(filling: TemplateFiller) -> str:
    """Sixteen digits that are no card: the last one is wrong."""
    while is_luhn_valid(number := filling.fill_digits("################")):
        pass
    return number


LOOKALIKE_MAKERS: Mapping[str, Callable[[TemplateFiller], str]] = {
    "order": lambda filling: filling.fill_digits(
        filling.pick(("A-#####", "#######", "ORD-####-##", "??####", "2#-####-#"))
    ),
    "version": lambda filling: filling.fill_digits(filling.pick(("#.#.#", "2#.#", "#.1#.#", "v#.#.0"))),
    "build": lambda filling: filling.fill_digits(filling.pick(("1#.#.#-b##", "#.0.#-rc#", "20##.#.#"))),
    "price": lambda filling: filling.fill_digits(filling.pick(("$+9.90", "€1#0", "2##.00 EUR", "£+,#50", "$1#.99"))),
    "product": lambda filling: filling.pick(PRODUCTS),
    "small": lambda filling: str(filling.random.randint(2, 99)),
    "stamp": lambda filling: f"[{filling.random.randint(1000, 9999)}.{filling.random.randint(100, 999)}]",
    "tracking": make_tracking_number,
    "voucher": lambda filling: filling.fill_digits("??##-?#?#-##??"),
    "part": lambda filling: filling.fill_digits(filling.pick(("E##", "??-###", "###-?", "#?##"))),
    "isbn": lambda filling: filling.fill_digits("978-#-##-######-#"),
}


def choose_locale(template: Template, row: int) -> str:
    """The locale of a row: that of the template's language or labels, else the next in turn."""
    for words, locale in LOCALES_BY_OPENING.items():
        if template.text.startswith(words):
            return locale
    if AMERICAN_LABELS & {name for name, _ in SLOT.findall(template.text)}:
        return "en_US"
    return Random(f"{SEED}/{template.name}/{row}/locale").choice(LOCALES)


def render_row(template: Template, row: int, fakers: Mapping[str, Any]) -> dict[str, Any]:
    """One row: text, labelled spans and the template that both are from."""
    locale = choose_locale(template, row)
    filling = TemplateFiller(fakers[locale], locale, Random(f"{SEED}/{template.name}/{row}"))
    filling.fake.seed_instance(f"{SEED}/{template.name}/{row}/faker")  # other digits than ours
    text, spans, position = "", [], 0
    for match in SLOT.finditer(template.text):
        text += template.text[position : match.start()]
        name, form = match.group(1), match.group(2) or ""
        value = LABEL_MAKERS[name](filling, form) if name in LABEL_MAKERS else LOOKALIKE_MAKERS[name](filling)
        if name in LABEL_MAKERS:
            spans.append({"start": len(text), "end": len(text) + len(value), "label": name})
        text += value
        position = match.end()
    return {"text": text + template.text[position:], "spans": spans, "template_id": template.name}


def make_rows(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All rows in their fixed shuffled order; one that differs from another in digits only is left out."""
    from faker import Faker

    fakers = {locale: Faker(locale) for locale in LOCALES}
    found: dict[str, dict[str, Any]] = {}
    for template in read_templates(folder):
        for row in range(MAX_ROWS_PER_TEMPLATE):
            made = render_row(template, row, fakers)
            found.setdefault(re.sub(r"\d", "0", made["text"].lower()), made)
    rows = list(found.values())
    Random(SEED).shuffle(rows)
    return rows


def check_digits(row: Mapping[str, Any]) -> None:
    """Raise ValueError for a card or account whose check digits are wrong."""
    holds = {"CREDIT_CARD": is_luhn_valid, "IBAN_CODE": is_iban, "US_SSN": is_social_security_number}
    for span in row["spans"]:
        value = row["text"][span["start"] : span["end"]]
        if not holds.get(span["label"], bool)(value):
            raise ValueError(f"{span['label']} {value!r} has wrong check digits")


def main() -> None:
    """Write messages.jsonl of the recipe."""
    rows = make_rows()
    for row in rows:
        check_digits(row)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (RECIPE_FOLDER / "messages.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
