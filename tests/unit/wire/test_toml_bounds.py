from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.toml_bounds import MAX_DEPTH, MAX_KEY_CHARS, MAX_KEY_PARTS, beyond

LONG = ".".join("a" * 40_000)
MANY = ".".join("a" * MAX_KEY_PARTS)


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1",
        f"{LONG.replace('.', ' . ')} = 1",
        f'"a".{LONG} = 1',
        f"[{LONG}]",
        f"[[{LONG}]]",
        f"x = {{ {LONG} = 1 }}",
        f"x = [{{ y = 1, {LONG} = 1 }}]",
        f'x = "a # \\" b"\n{LONG} = 1',
        f"x = '''it's'''\n{LONG} = 1",
        f'x = """a""b\\""""""\n{LONG} = 1',
        f"# it's a comment\n{LONG} = 1",
        f"{MANY}.a = 1",
    ],
)
def test_a_key_of_many_parts_is_not_given_to_a_parser(text: str) -> None:
    assert f"at most {MAX_KEY_PARTS} parts" in (beyond(text, 1 << 20) or "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = " + "[" * (MAX_DEPTH + 1), "in each other"),
        ("x = " + "{a=" * (MAX_DEPTH + 1), "in each other"),
        ("a" * (MAX_KEY_CHARS + 1) + " = 1", "a key has at most"),
        ("x = 1\ny = " + r'"\"' + r"\"" * 100_000, "line 2: a quoted text has no end"),
        ('x = """' + '\\"' * 100_000, "a quoted text has no end"),
        ("x" * 101, "has 101 characters; at most 100"),
    ],
)
def test_other_bounds(text: str, why: str) -> None:
    assert why in (beyond(text, 100 if why.startswith("has 101") else 1 << 20) or "")


@pytest.mark.parametrize(
    "text",
    [
        f"{MANY} = 1",
        'x = "' + "a.b" * 10_000 + '"',
        'x = ["' + "a.b" * 10_000 + '"]',
        'x = """\n' + "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r = 1\n" * 50 + '""""" # ' + "a." * 50 + "\ny.z = 1",
        "x = [" + "1.5, " * 10_000 + "]",
        "# " + "a." * 2_000 + "\nx = 1979-05-27T07:32:00.123Z",
        "x = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH,
    ],
)
def test_what_is_within_them_is_left_to_the_parser(text: str) -> None:
    assert beyond(text, 1 << 20) is None
    tomllib.loads(text)


def depth_of(value: object) -> int:
    return 1 + max(map(depth_of, value.values()), default=0) if isinstance(value, dict) else 0


@given(st.text(alphabet="ab.=\"'\\#[]{},\n 1", max_size=60))
@settings(max_examples=2_000, deadline=None)
def test_nothing_hides_a_key_from_it_that_the_parser_sees(text: str) -> None:
    """Whatever stands before: where the parser gets as far as a long key, so do the bounds."""
    hidden = f"{text}\n{MANY}.a = 1\n"
    try:
        found = tomllib.loads(hidden)
    except tomllib.TOMLDecodeError:
        return
    if depth_of(found) > MAX_KEY_PARTS:
        assert beyond(hidden, 1 << 20) is not None
