"""Words: what was found on a line, for a technician, in French or English. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from edge.identify.finding import Finding, GuessedValue
from edge.identify.looking import Found, LookReport
from wire.sample import Value

Language = Literal["en", "fr"]
MAX_NAMES: Final = 4
MAX_OTHERS: Final = 3
_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "nothing": "line {}: nothing answers",
        "no profile": "no profile fits ({} were tried)",
        "sure": "{} fits: {} of {} points",
        "perhaps": "perhaps {}: {} of {} points fit",
        "others": "less likely: {}",
        "known": "this is {}",
        "order": '{} gives {}, {} gives {} ({}): write order = "{}" in the `at` of {}',
        "shift": "all addresses are {:+d} beside those of the profile: write them so in a profile of your own",
        "space": "the device has them as {0} registers: write {0} = in the `at` of {1}",
        "topic": 'the topic is another than the profile\'s: write topic = "{}" in a profile of your own',
        "scale": "{} would be {}; {} is usual: write scale = {:g} in its `at`",
        "absent": "the device does not have {}",
        "wrong": "doubtful: {}",
        "and": "{} and {} more",
        "paste": "write: {}",
        "two_devices": "two devices seem to answer at this number: take one off the line, and look again",
        "garbled": "something speaks here that cannot be read: another speed or parity, two devices at one number, or a"
        " bad line; with the node stopped, --sweep tries the others",
        "any_unit": "it answers to {} unit numbers: over TCP it is one device, whatever number is written",
        "name": "it calls itself {}",
        "settings": "the line speaks with {}: write that in its [[line]]",
        "scanning": "unit {unit}: {found} found so far",
        "reading": "unit {unit}: reading as profile {done} of {of}",
        "again": "unit {unit}: reading again, {done} of {of}",
        "listening": "listening: {found} heard, {left_s} s left",
        "connecting": "connecting to {mac}",
        "sweeping": "trying {baud} baud, parity {parity}",
    },
    "fr": {
        "nothing": "ligne {} : rien ne répond",
        "no profile": "aucun profil ne convient ({} essayés)",
        "sure": "{} convient : {} points sur {}",
        "perhaps": "peut-être {} : {} points sur {} conviennent",
        "others": "moins probable : {}",
        "known": "c'est {}",
        "order": '{} donne {}, {} donne {} ({}) : écrivez order = "{}" dans le `at` de {}',
        "shift": "toutes les adresses sont à {:+d} de celles du profil : écrivez-les ainsi dans un profil à vous",
        "space": "l'appareil les a en registres {0} : écrivez {0} = dans le `at` de {1}",
        "topic": 'le topic n\'est pas celui du profil : écrivez topic = "{}" dans un profil à vous',
        "scale": "{} serait {} ; {} est usuel : écrivez scale = {:g} dans son `at`",
        "absent": "l'appareil n'a pas {}",
        "wrong": "douteux : {}",
        "and": "{} et {} autres",
        "paste": "écrivez : {}",
        "two_devices": "deux appareils semblent répondre à ce numéro : débranchez-en un, et cherchez de nouveau",
        "garbled": "quelque chose parle ici qu'on ne peut lire : autre vitesse ou parité, deux appareils au même numéro"
        " ou mauvaise ligne ; nœud arrêté, --sweep essaie les autres",
        "any_unit": "il répond à {} numéros d'unité : en TCP c'est un seul appareil, quel que soit le numéro écrit",
        "name": "il se nomme {}",
        "settings": "la ligne parle avec {} : écrivez-le dans sa [[line]]",
        "scanning": "unité {unit} : {found} trouvés jusqu'ici",
        "reading": "unité {unit} : lecture selon le profil {done} sur {of}",
        "again": "unité {unit} : nouvelle lecture, {done} sur {of}",
        "listening": "écoute : {found} entendus, encore {left_s} s",
        "connecting": "connexion à {mac}",
        "sweeping": "essai à {baud} bauds, parité {parity}",
    },
}


def progress(word: str, details: Mapping[str, object], language: Language) -> str:
    """How far it has come."""
    return _WORDS[language][word].format_map(dict(details)) if word in _WORDS[language] else word


def told(report: LookReport, language: Language) -> Iterator[str]:
    """A report in lines."""
    words = _WORDS[language]
    if report.settings:
        yield words["settings"].format(_table(report.settings, ", "))
    if not report.found:
        yield words["nothing"].format(report.line)
    for found in report.found:
        yield " ".join([*(f"{k} {v}" for k, v in found.address.items()), *_loud(found)])
        yield from (f"  {text}" for text in _of(found, report, language))


def _loud(found: Found) -> list[str]:
    return [] if found.rssi is None else [f"({found.rssi} dBm)"]


def _of(found: Found, report: LookReport, language: Language) -> Iterator[str]:
    words = _WORDS[language]
    if found.known:
        yield words["known"].format(_names(found.known, language))
    for key, value in found.notes.items():
        if key in words:
            yield words[key].format(value)
    if not found.findings:
        if "garbled" not in found.notes:
            yield words["no profile"].format(report.profiles)
        return
    first, *others = found.findings
    yield from finding(first, language)
    if not found.known:
        line = f'profile = "{first.profile}", line = "{report.line}"'
        yield words["paste"].format(f"{line}, address = {{ {_table(first.address, ', ')} }}")
    if others and not first.sure:
        yield words["others"].format(", ".join(f.profile for f in others[:MAX_OTHERS]))


def finding(one: Finding, language: Language) -> Iterator[str]:
    """A profile that fits, and what must be written otherwise."""
    words = _WORDS[language]
    yield words["sure" if one.sure else "perhaps"].format(one.profile, one.fits, one.points)
    if one.shown:
        yield ", ".join(f"{s.point} {_value(s.value, s.unit)}" for s in one.shown)
    changed = _names(one.changed, language)
    match one.kind:
        case "order":
            seen = next((s for s in one.shown if s.as_written is not None), GuessedValue("", None, ""))
            order, written = one.changes["order"], one.written.get("order", "")
            good, bad = _value(seen.value, seen.unit), _value(seen.as_written, seen.unit)
            yield words["order"].format(order, good, written, bad, seen.point, order, changed)
        case "shift":
            yield words["shift"].format(one.changes["by"])
        case "space":
            yield words["space"].format(one.changes["space"], changed)
        case "topic":
            yield words["topic"].format(one.changes["topic"])
        case _:
            pass
    for s in one.scales:
        yield words["scale"].format(s.point, _value(s.value, s.unit), _value(s.becomes, s.unit), s.scale)
    if one.absent:
        yield words["absent"].format(_names(one.absent, language))
    if one.wrong:
        yield words["wrong"].format(_names(one.wrong, language))


def _names(names: tuple[str, ...], language: Language) -> str:
    shown = ", ".join(names[:MAX_NAMES])
    left = len(names) - MAX_NAMES
    return shown if left <= 0 else _WORDS[language]["and"].format(shown, left)


def _value(value: Value, unit: str) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
    return f"{text} {unit}".rstrip()


def _table(keys: Mapping[str, str | int], between: str) -> str:
    """As a file has it."""
    return between.join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in keys.items())
