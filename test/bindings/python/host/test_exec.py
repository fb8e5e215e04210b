"""The files of an Exec, over a native part that is made up: no guest is needed for them."""

import gc
import threading

import pytest

from libmicrovm.exec import Exec, _Outputs


class Native:
    """Gives `pieces`, one for each read; an exception among them is raised."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.written = []
        self.closed = False
        self.stdin_closed = 0

    def read(self, timeout, cancel):
        piece = self.pieces.pop(0) if self.pieces else None
        if isinstance(piece, BaseException):
            raise piece
        if isinstance(piece, threading.Event):
            assert piece.wait(10)
            return self.read(timeout, cancel)
        return piece

    def write_stdin(self, data, timeout, cancel):
        self.written.append(bytes(data))

    def close_stdin(self, timeout, cancel):
        self.stdin_closed += 1

    def close(self):
        self.closed = True


def test_each_stream_gets_its_own():
    program = Exec(Native(("out", b"a\nb", 0), ("err", b"x\n", 0), ("out", b"c\n", 0)))
    assert program.stderr.read() == b"x\n"
    assert list(program.stdout) == [b"a\n", b"bc\n"]
    assert program.stdout.read() == b""


def test_text_is_decoded_over_the_edges_of_pieces():
    euro = "€".encode()
    program = Exec(Native(("out", euro[:1], 0), ("out", euro[1:] + b"\r\n", 0)), text=True)
    assert program.stdout.readline() == "€\n"


def test_pieces_come_as_they_are_after_what_a_stream_has_left():
    program = Exec(Native(("err", b"e", 0), ("out", b"o\n", 0), ("out", b"p", 7)))
    assert program.stdout.readline() == b"o\n"
    first, second = list(program)
    assert (first.stream, first.data) == ("err", b"e")
    assert (second.stream, second.data, second.lost_bytes) == ("out", b"p", 7)


def test_a_piece_larger_than_the_buffer_is_cut():
    data = bytes(range(256)) * 1000
    assert Exec(Native(("out", data, 0))).stdout.read() == data


def test_what_nobody_reads_is_bounded(monkeypatch):
    monkeypatch.setattr(_Outputs, "KEPT_BYTES", 10)
    program = Exec(Native(*[("err", b"12345", 0)] * 4, ("out", b"o", 3)))
    assert program.stdout.read() == b"o"
    assert program.lost_bytes == 10 + 3
    assert program.stderr.read() == b"1234512345"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_read_that_is_interrupted_loses_nothing(error):
    program = Exec(Native(("out", b"a", 0), error(), ("out", b"b", 0)))
    assert program.stdout.read1() == b"a"
    with pytest.raises(error):
        program.stdout.read1()
    assert program.stdout.read1() == b"b"


def test_a_thread_gets_what_another_has_read():
    go_on = threading.Event()
    program = Exec(Native(("err", b"x", 0), go_on, ("out", b"a", 0)))
    got = []
    threads = [
        threading.Thread(target=lambda file=file: got.append(file.read1()))
        for file in (program.stdout, program.stderr)
    ]
    threads[0].start()
    threads[1].start()
    threads[1].join(10)
    assert got == [b"x"]
    go_on.set()
    threads[0].join(10)
    assert got == [b"x", b"a"]


def test_stdin_is_written_at_once_and_closed_once():
    native = Native()
    program = Exec(native, text=True)
    program.stdin.write("é\n")
    assert native.written == ["é\n".encode()]
    program.stdin.close()
    program.stdin.close()
    assert native.stdin_closed == 1


@pytest.mark.parametrize("text", [False, True])
def test_stdin_that_is_dropped_is_not_closed(text):
    native = Native()
    program = Exec(native, text=text)
    del program
    gc.collect()
    assert native.stdin_closed == 0


def test_there_is_no_stdin_unless_asked_for():
    program = Exec(Native(), stdin_open=False)
    assert program.stdin is None
    with pytest.raises(ValueError, match="stdin_open=True"):
        program.communicate(b"a")
