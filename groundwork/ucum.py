"""UCUM: whether a unit is one by the Unified Code for Units of Measure, version 2.2, in its case-sensitive form.

A unit is atoms, with a prefix where they are metric, with exponents, joined by `.` and `/`, in parentheses, with
annotations in `{ }`; a number may stand for an atom. The grammar is that of the standard's sections 2 and 3, the
atoms are those of its tables. What it means is not looked at: nothing here converts. No unit at all, "", is one.

Bounds: a unit has MAX_CHARS characters, parentheses nest MAX_DEPTH deep.
"""

from __future__ import annotations

import re
from typing import Final

MAX_CHARS: Final = 200
MAX_DEPTH: Final = 8

_PREFIXES_TEXT: Final = """
    E G Gi Ki M Mi P T Ti Y Z a c d da f h k m n p u y z
"""
_METRIC_TEXT: Final = """
    A B B[10.nV] B[SPL] B[V] B[W] B[kW] B[mV] B[uV] Bd Bi Bq By C Cel Ci F G Gal Gb Gy H Hz J K Ky L Lmb Mx N Np Oe
    Ohm P Pa R RAD REM S St Sv T U V W Wb [G] [IU] [c] [e] [eps_0] [g] [h] [iU] [k] [ly] [m_e] [m_p] [mu_0] ar bar
    bit cal cal_IT cal_[15] cal_[20] cal_m cal_th cd dyn eV eq erg g g% gf kat l lm lx m m[H2O] m[Hg] mho mol osm pc
    ph rad s sb sr st t tex u
"""
_OTHERS_TEXT: Final = """
    % %[slope] ' '' 10* 10^ AU Ao [APL'U] [AU] [Amb'a'1'U] [BAU] [Btu] [Btu_39] [Btu_59] [Btu_60] [Btu_IT] [Btu_m]
    [Btu_th] [CCID_50] [CFU] [Cal] [Ch] [D'ag'U] [EID_50] [ELU] [EU] [FEU] [FFU] [FNU] [GPL'U] [HPF] [HP] [IR] [LPF]
    [Lf] [MET] [MPL'U] [NTU] [PFU] [PNU] [PRU] [S] [TCID_50] [USP'U] [acr_br] [acr_us] [anti'Xa'U] [arb'U] [bbl_us]
    [bdsk'U] [beth'U] [bf_i] [bu_br] [bu_us] [car_Au] [car_m] [cft_i] [ch_br] [ch_us] [cicero] [cin_i] [cml_i]
    [cr_i] [crd_us] [cup_m] [cup_us] [cyd_i] [degF] [degR] [degRe] [den] [didot] [diop] [dpt_us] [dqt_us] [dr_ap]
    [dr_av] [drp] [dye'U] [fdr_br] [fdr_us] [foz_br] [foz_m] [foz_us] [ft_br] [ft_i] [ft_us] [fth_br] [fth_i]
    [fth_us] [fur_us] [gal_br] [gal_us] [gal_wi] [gil_br] [gil_us] [gr] [hd_i] [hnsf'U] [hp'_C] [hp'_M] [hp'_Q]
    [hp'_X] [hp_C] [hp_M] [hp_Q] [hp_X] [in_br] [in_i'H2O] [in_i'Hg] [in_i] [in_us] [ka'U] [kn_br] [kn_i] [knk'U]
    [kp_C] [kp_M] [kp_Q] [kp_X] [lb_ap] [lb_av] [lb_tr] [lbf_av] [lcwt_av] [ligne] [lk_br] [lk_us] [lne] [lton_av]
    [m/s2/Hz^(1/2)] [mclg'U] [mesh_i] [mi_br] [mi_i] [mi_us] [mil_i] [mil_us] [min_br] [min_us] [nmi_br] [nmi_i]
    [oz_ap] [oz_av] [oz_m] [oz_tr] [p'diop] [pH] [pc_br] [pca] [pca_pr] [pi] [pied] [pk_br] [pk_us] [pnt] [pnt_pr]
    [pouce] [ppb] [ppm] [ppth] [pptr] [psi] [pt_br] [pt_us] [pwt_tr] [qt_br] [qt_us] [rch_us] [rd_br] [rd_us]
    [rlk_us] [sc_ap] [sct] [scwt_av] [sft_i] [sin_i] [smgy'U] [smi_us] [smoot] [srd_us] [ston_av] [stone_av] [syd_i]
    [tb'U] [tbs_m] [tbs_us] [todd'U] [tsp_m] [tsp_us] [twp] [wood'U] [yd_br] [yd_i] [yd_us] a a_g a_j a_t atm att b
    bit_s circ d deg gon h min mo mo_g mo_j mo_s sph wk
"""
_PREFIXES: Final = frozenset(_PREFIXES_TEXT.split())
_METRIC: Final = frozenset(_METRIC_TEXT.split())
_OTHERS: Final = frozenset(_OTHERS_TEXT.split())
_PIECE: Final = re.compile(r"(?:[^][(){}./]|\[[^][]*\])+")  # what stands between operators; brackets may hold them
_POWER: Final = re.compile(r"[+-]?[1-9][0-9]*$")
_NOTE: Final = re.compile(r"\{[\x21-\x7a|~]*\}")

# What is written where the standard has another word for it.
_MEANT: Final = {
    "°C": "Cel", "degC": "Cel", "C°": "Cel", "celsius": "Cel", "Celsius": "Cel", "°": "deg", "°F": "[degF]",
    "kWh": "kW.h", "Wh": "W.h", "MWh": "MW.h", "VA": "V.A", "kVA": "kV.A", "VAr": "V.A{reactive}",
    "var": "V.A{reactive}", "VAR": "V.A{reactive}", "kvar": "kV.A{reactive}", "kVAr": "kV.A{reactive}",
    "varh": "V.A{reactive}.h", "kvarh": "kV.A{reactive}.h", "Ah": "A.h", "mAh": "mA.h",
    "dBm": "dB{mW}", "dB[mW]": "dB{mW}",
    "dBA": "dB[SPL]{A}", "dB(A)": "dB[SPL]{A}", "rpm": "{rotations}/min", "ppm": "[ppm]", "ppb": "[ppb]",
    "lux": "lx", "Lux": "lx", "ohm": "Ohm", "\u2126": "Ohm", "\u03a9": "Ohm", "sec": "s", "hr": "h", "hours": "h",
    "minutes": "min", "pct": "%", "percent": "%", "NTU": "[NTU]", "pH": "[pH]", "psi": "[psi]", "kmh": "km/h",
    "kph": "km/h", "µ": "u", "l/hour": "l/h", "volt": "V", "watt": "W", "ampere": "A",
}  # fmt: skip


def why_not_ucum(unit: str) -> str | None:
    """Say in words what is wrong with a unit, and what is right where that can be guessed; None where it is one."""
    if len(unit) > MAX_CHARS:
        return f"has {len(unit)} characters; a unit has {MAX_CHARS} at most"
    if not unit:
        return None
    reading = _Reading(unit)
    wrong = reading.whole()
    if wrong is None:
        return None
    right = _guess(unit)
    return f"is no UCUM code: {wrong}" + (f"; write {right}" if right else "")


class _Reading:
    def __init__(self, unit: str) -> None:
        self._unit, self._at = unit, 0

    def whole(self) -> str | None:
        wrong = self._term(0)
        if wrong is None and self._at < len(self._unit):
            wrong = f"{self._unit[self._at]!r} at character {self._at + 1} belongs to nothing"
        return wrong

    def _next(self) -> str:
        return self._unit[self._at : self._at + 1]

    def _term(self, depth: int) -> str | None:
        if depth > MAX_DEPTH:
            return f"parentheses nest more than {MAX_DEPTH} deep"
        if self._next() == "/":  # one over what follows
            self._at += 1
        while True:
            if (wrong := self._component(depth)) is not None:
                return wrong
            if self._next() not in {".", "/"} or not self._next():
                return None
            self._at += 1

    def _component(self, depth: int) -> str | None:
        if self._next() == "(":
            self._at += 1
            if (wrong := self._term(depth + 1)) is not None:
                return wrong
            if self._next() != ")":
                return "a parenthesis is not closed"
            self._at += 1
        elif (piece := _PIECE.match(self._unit, self._at)) is not None:
            self._at = piece.end()
            if not _is_unit(piece[0]):
                return f"there is no unit {piece[0]!r}"
        elif self._next() != "{":
            found = self._next()
            return f"a unit is missing before {found!r}" if found else "a unit is missing at the end"
        if self._next() == "{":
            note = _NOTE.match(self._unit, self._at)
            if note is None:
                return "an annotation, in { }, has printable ASCII without spaces, and is closed"
            self._at = note.end()
        return None


def _is_unit(piece: str) -> bool:
    if piece.isascii() and piece.isdecimal():
        return piece[0] != "0"
    return _is_atom(piece) or _is_atom(_POWER.sub("", piece))


def _is_atom(atom: str) -> bool:
    if atom in _METRIC or atom in _OTHERS:
        return True
    return any(atom.startswith(p) and atom.removeprefix(p) in _METRIC for p in (atom[:1], atom[:2]) if p in _PREFIXES)


def _guess(unit: str) -> str | None:
    plain = unit.replace("µ", "u").replace("μ", "u").replace("²", "2").replace("³", "3").replace("·", ".").strip()
    for guess in (_MEANT.get(unit), _MEANT.get(plain), plain, plain.replace(" ", ""), plain.replace("*", ".")):
        if guess and _Reading(guess).whole() is None:
            return guess
    guess = "".join(_MEANT.get(piece) or _in_right_case(piece) for piece in re.split(r"([./])", plain))
    return guess if _Reading(guess).whole() is None else None


def _in_right_case(piece: str) -> str:
    """The same letters as a unit, where they are one in one way only."""
    power = _POWER.search(piece)
    letters = piece if power is None else piece[: power.start()]
    ways = {a for a in (*_METRIC, *_OTHERS, *(p + m for p in _PREFIXES for m in _METRIC)) if _same(a, letters)}
    return ways.pop() + piece[len(letters) :] if len(ways) == 1 and not _is_unit(piece) else piece


def _same(one: str, other: str) -> bool:
    return len(one) == len(other) and one.lower() == other.lower()
