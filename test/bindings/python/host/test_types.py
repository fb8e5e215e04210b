"""Arguments: what is taken, and that anything else is a TypeError or InvalidArgument, never a crash."""

import ast
import datetime
import inspect
import math
import pathlib
import re

import pytest

import libmicrovm
from libmicrovm import CancelToken, IdlePolicy, InvalidArgument, Runtime, _native

TREE = pathlib.Path(__file__).resolve().parents[4]


@pytest.fixture
def runtime(tmp_path):
    with Runtime(tmp_path / "data") as opened:
        yield opened


class Odd:
    """Of no type that anything takes."""

    def __repr__(self):
        return "Odd()"


def calls_of(thing):
    for name, method in inspect.getmembers(thing, inspect.ismethod):
        if not name.startswith("_") and name != "close":
            yield name, method


def arguments_of(method):
    parameters = inspect.signature(method).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


# What a call that must fail at one argument is given for the others.
FINE = {
    "deb": "/nothing",
    "tar": "/nothing",
    "context": "/nothing",
    "tag": "a",
    "name": "a",
    "reference": "a",
    "name_or_digest": "a",
    "id_or_name": "a",
    "image": "a",
    "image_name": "a",
    "checkpoint": "a",
    "count": 1,
}


@pytest.mark.parametrize("bad", [Odd(), 1.5j, {Odd()}])
def test_each_argument_of_each_call_refuses_what_it_is_not_for(runtime, bad):
    tried = 0
    for name, method in calls_of(runtime):
        for argument in arguments_of(method):
            given = {p.name: FINE[p.name] for p in arguments_of(method) if p.name in FINE}
            given[argument.name] = bad
            with pytest.raises((TypeError, InvalidArgument)):
                method(**given)
                pytest.fail(f"{name}({argument.name}={bad!r}) was taken")
            tried += 1
    assert tried > 60


def test_none_is_refused_where_something_is_needed(runtime):
    for _, method in calls_of(runtime):
        needed = [p.name for p in arguments_of(method) if p.default is p.empty]
        for name in needed:
            given = {other: FINE[other] for other in needed}
            given[name] = None
            with pytest.raises((TypeError, InvalidArgument)):
                method(**given)


def test_the_message_names_argument_and_types(runtime):
    with pytest.raises(TypeError, match=r"reference must be str, bytes or os.PathLike, not int"):
        runtime.image(3)
    with pytest.raises(TypeError, match=r"cancel must be a CancelToken, not str"):
        runtime.images(cancel="now")
    with pytest.raises(TypeError, match=r"dry_run must be a bool, not int"):
        runtime.prune(dry_run=1)


@pytest.mark.parametrize("path", [str, bytes, pathlib.Path])
def test_paths_are_str_bytes_or_pathlike(tmp_path, path):
    given = str(tmp_path / "d").encode() if path is bytes else path(tmp_path / "d")
    with Runtime(given) as runtime:
        assert runtime.data_dir == tmp_path / "d"


def test_a_path_with_a_nul_byte_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="NUL"):
        Runtime(str(tmp_path) + "/a\0b")


def test_names_that_are_no_utf_8_come_back(tmp_path):
    odd = bytes(tmp_path) + b"/\xff\xfe"
    with Runtime(odd) as runtime:
        assert bytes(runtime.data_dir) == odd
        with Runtime(runtime.data_dir) as again:
            assert again.data_dir == runtime.data_dir


@pytest.mark.parametrize("bad", [-1, 2**32, 2**64, 2**200])
def test_a_number_out_of_range(tmp_path, bad):
    with pytest.raises(InvalidArgument, match=f"pool_size: {bad} is not from 0 to 4294967295"):
        Runtime(tmp_path, pool_size=bad)


@pytest.mark.parametrize("bad", [1.0, "1", True])
def test_a_number_is_an_int(tmp_path, bad):
    with pytest.raises(TypeError, match="pool_size must be an int"):
        Runtime(tmp_path, pool_size=bad)


@pytest.mark.parametrize("bad", [-1, -0.001, math.nan, datetime.timedelta(seconds=-1)])
def test_a_time_limit_is_not_negative(runtime, bad):
    with pytest.raises(InvalidArgument, match="timeout"):
        runtime.images(timeout=bad)


@pytest.mark.parametrize("good", [None, 5, 5.5, math.inf, 10**12, datetime.timedelta(days=9)])
def test_time_limits(runtime, good):
    assert runtime.images(timeout=good) == []


@pytest.mark.parametrize("bad", [-1, math.inf, math.nan, 10**30])
def test_a_duration_has_bounds(runtime, bad):
    with pytest.raises(InvalidArgument, match="start_timeout"):
        runtime.run("a", start_timeout=bad)


def test_an_idle_policy_is_checked(runtime):
    with pytest.raises(TypeError, match="idle must be an IdlePolicy, not dict"):
        runtime.run("a", idle={"idle_after": 3})
    with pytest.raises(TypeError, match="idle_after must be seconds"):
        runtime.run("a", idle=IdlePolicy(idle_after="3"))
    with pytest.raises(libmicrovm.NotFound):
        runtime.run("a", idle=IdlePolicy(idle_after=3, lifetime=datetime.timedelta(hours=1)))


def test_build_args_are_a_mapping(runtime, tmp_path):
    with pytest.raises(TypeError, match="build_args must be a mapping"):
        runtime.build(tmp_path, "a", build_args=["A=1"])
    with pytest.raises(TypeError, match="build_args must be str"):
        runtime.build(tmp_path, "a", build_args={"A": 1})


def test_callbacks_must_be_callable(runtime, tmp_path):
    with pytest.raises(TypeError, match="progress must be callable"):
        runtime.import_base("a", tmp_path / "a.tar", progress=3)
    with pytest.raises(TypeError, match="log must be callable"):
        Runtime(tmp_path, log="stderr")
    with pytest.raises(TypeError, match="on_event must be callable"):
        Runtime(tmp_path, on_event="stderr")


def test_what_only_the_library_makes_can_not_be_made():
    for name in ("Vm", "Exec", "Pty", "Watch", "KeepAwake"):
        with pytest.raises(TypeError):
            getattr(_native, name)()


def test_an_object_that_was_not_initialized_is_refused():
    class Mine(_native.Runtime):
        def __init__(self):
            pass

    with pytest.raises(TypeError):
        Mine()
    uses = {
        _native.Runtime: lambda made: made.vms(None, None),
        _native.Vm: lambda made: made.id(),
        _native.Exec: lambda made: made.fd(),
        _native.Watch: lambda made: made.try_next(),
        CancelToken: lambda made: made.cancel(),
    }
    for cls, use in uses.items():
        made = cls.__new__(cls)
        with pytest.raises(InvalidArgument, match="never made: call its class"):
            use(made)
    with pytest.raises(InvalidArgument, match="never made"):
        Runtime("/tmp/never-opened", cancel=made)


def test_values_are_immutable_and_compare():
    one = libmicrovm.ExitStatus(1, 0, False, "")
    assert one == libmicrovm.ExitStatus(1, 0, False, "")
    assert one.returncode == 1
    assert libmicrovm.ExitStatus(0, 9, False, "").returncode == -9
    with pytest.raises(AttributeError):
        one.code = 2


def test_words_are_equal_to_their_names():
    assert libmicrovm.VmState.RUNNING == "running"
    assert f"{libmicrovm.VmState.RUNNING}" == "running"


def test_everything_public_says_what_it_is():
    for name in dir(libmicrovm):
        thing = getattr(libmicrovm, name)
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert thing.__doc__, name
        for member, method in inspect.getmembers(thing, inspect.isfunction):
            if not member.startswith("_") and thing.__module__.startswith("libmicrovm"):
                assert method.__doc__, f"{name}.{member}"


def test_a_token_is_for_select():
    import select

    token = CancelToken()
    assert select.select([token], [], [], 0)[0] == []
    token.cancel()
    assert select.select([token], [], [], 0)[0] == [token]


def option_keys():
    """The keys of the dicts that the package gives to _native, by the files' syntax."""
    package = TREE / "bindings/python/libmicrovm"
    for module in sorted(package.glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Dict):
                for key in node.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield module.name, key.value


def test_each_option_is_read_by_the_native_part():
    native = TREE / "bindings/python/native"
    text = "".join(source.read_text() for source in native.glob("*.cpp"))
    read = set(re.findall(r'(?:take|need|find|take_environment)\("(\w+)"', text))
    keys = list(option_keys())
    assert len(keys) > 80
    assert [key for key in keys if key[1] not in read | {"out", "err"}] == []
