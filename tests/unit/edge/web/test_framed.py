"""Frames as a page shows them."""

from __future__ import annotations

from drivers.frames import Field, Frame
from edge.web.framed import MAX_FRAMES, SHOWN_BYTES, FramePart, shown


def test_a_frame_is_told_in_pieces_with_their_names_and_nothing_is_left_out() -> None:
    fields = (Field(2, 2, "dim_level"), Field(0, 1, "unit"), Field(2, 2, "again"), Field(6, 9, "beyond"))
    (found,) = shown([Frame(5, "in", bytes(range(250, 256)) + b"\1\2", fields)])
    assert (found.time_us, found.out, found.text) == (5, False, "")
    assert found.pieces == [
        FramePart("fa", "unit"), FramePart("fb", ""), FramePart("fc fd", "dim_level"), FramePart("fe ff",
        ""), FramePart("01 02", "beyond"),
    ]  # fmt: skip


def test_the_newest_come_first_and_not_too_many() -> None:
    found = shown([Frame(n, "out", b"\0") for n in range(100)])
    assert [f.time_us for f in found] == list(range(99, 99 - MAX_FRAMES, -1))
    assert found[0].out


def test_a_payload_of_text_is_shown_as_text() -> None:
    (found,) = shown([Frame(0, "in", b'{"fill": 3}', about="bins/1/up")])
    assert (found.text, found.about) == ('{"fill": 3}', "bins/1/up")
    (found,) = shown([Frame(0, "in", b"ab\n\x1b[31m")])
    assert found.text == ""


def test_a_long_piece_is_cut() -> None:
    (found,) = shown([Frame(0, "in", b"\xff" * 512)])
    assert found.pieces[0].octets == "ff " * SHOWN_BYTES + "…"
