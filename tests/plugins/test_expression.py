"""Strategy expressions: what is read, the one spelling, and what is refused."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from clbench.errors import InputError
from clbench.plugins.expression import MAX_LENGTH, Component, canonical, literal, parse_expression


@pytest.mark.parametrize(
    ("text", "components"),
    [
        ("naive", [Component("naive")]),
        ("naive()", [Component("naive")]),
        ("replay+ewc", [Component("replay"), Component("ewc")]),
        (
            "replay(memory_size=0.05)+ewc(fisher='exact', decay=.5)",
            [Component("replay", {"memory_size": 0.05}), Component("ewc", {"fisher": "exact", "decay": 0.5})],
        ),
        (" replay ( memory_size = 10 ) +  ewc ", [Component("replay", {"memory_size": 10}), Component("ewc")]),
        ("./mine.py(strength=2)", [Component("./mine.py", {"strength": 2})]),
        ("/a b/mine.py+ewc", [Component("/a b/mine.py"), Component("ewc")]),
        ("a(x='p+q', y=\"(\", z=')')+b", [Component("a", {"x": "p+q", "y": "(", "z": ")"}), Component("b")]),
        ("a(x=[1, (2, 3)], y={'k': None})+b", [Component("a", {"x": [1, (2, 3)], "y": {"k": None}}), Component("b")]),
        ("a(x=-1, y=+2, z=1e-3, w=True)", [Component("a", {"x": -1, "y": 2, "z": 0.001, "w": True})]),
        (r"a(x='it\'s+')+b", [Component("a", {"x": "it's+"}), Component("b")]),
        (r"a(x='\\')+b", [Component("a", {"x": "\\"}), Component("b")]),
        ("a(x=1,)", [Component("a", {"x": 1})]),
    ],
)
def test_reads_names_paths_arguments_and_stacks(text: str, components: list[Component]) -> None:
    assert parse_expression(text) == tuple(components)


def test_the_canonical_form_is_one_spelling() -> None:
    spellings = ["a(y=2.50,x='k')+b", ' a ( x = "k" , y=2.5 ) + b ( ) ']
    assert {canonical(parse_expression(text)) for text in spellings} == {"a(x='k', y=2.5)+b"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.text(alphabet="\\'\"+(n", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=6,
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name not in ("if", "in", "is", "as"))
COMPONENTS = st.builds(
    Component, st.sampled_from(["ewc", "replay", "./mine.py", "/a b/c.py"]), st.dictionaries(NAMES, VALUES, max_size=3)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(COMPONENTS, min_size=1, max_size=3).map(tuple))
def test_reading_the_canonical_form_gives_the_same(components: tuple[Component, ...]) -> None:
    assert parse_expression(canonical(components)) == components


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty strategy name in ''; write NAME, NAME(key=value) or NAME+NAME"),
        ("ewc+", "empty strategy name in 'ewc+'"),
        ("ewc++replay", "empty strategy name in 'ewc++replay'"),
        ("(x=1)", "empty strategy name"),
        ("ewc(x=1", "cannot read 'ewc(x=1': the bracket is not closed"),
        ("ewc(x=1)y", "cannot read 'ewc(x=1)y': the bracket is not closed"),
        ("ewc(x='1)", "cannot read the arguments of"),
        ("ewc(x=)", "cannot read the arguments of 'ewc(x=)'; write NAME(key=value, ...)"),
        ("ewc(x=1 y=2)", "cannot read the arguments of"),
        ("ewc(3)", "'ewc(3)' has the value '3' without a name; write key=value"),
        ("ewc(*[1])", "has the value '*[1]' without a name"),
        ("ewc(**{'x': 1})", "gives '**' twice or without a name"),
        ("ewc(x=1, x=2)", "'ewc(x=1, x=2)'"),
        ("ewc(x=1)(y=2)", "cannot read 'ewc(x=1)(y=2)'"),
        ("ewc(x=abc)", "x in 'ewc(x=abc)': 'abc' is not a literal; allowed: a number, True"),
        ("ewc(x=__import__('os').getcwd())", "is not a literal"),
        ("ewc(x=2**9)", "'2 ** 9' is not a literal"),
        ("ewc(x=[i for i in (1, 2)])", "is not a literal"),
        ("ewc(x=f'{1}')", "is not a literal"),
        ("ewc(x=(y:=1))", "is not a literal"),
        # No one spelling that can be read again or written as JSON.
        ("ewc(x=1e999)", "is not a literal; allowed: a number"),
        ("ewc(x={'a', 'b'})", "is not a literal; allowed: a number"),
        ("ewc(x=b'a')", "is not a literal; allowed: a number"),
        ("ewc\n", "holds control characters; allowed: printable text"),
        ("ewc(x='\x1b[2J')", "holds control characters"),
        ("e\x00", "holds control characters"),
        ("e" * (MAX_LENGTH + 1), f"strategy expression of {MAX_LENGTH + 1} characters; allowed: at most {MAX_LENGTH}"),
        ("ewc(x=" + "[" * 900 + "]" * 900 + ")", "cannot read the arguments of"),
        ("ewc(x=" + "-" * 1500 + "1)", "ewc("),
        ("ewc(x=" + "1+" * 900 + "1)", "ewc("),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_expression(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="ab(+)='\"[]{},.1 \\#*-\n", max_size=25) | st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        components = parse_expression(text)
    except InputError:
        return
    assert parse_expression(canonical(components)) == components


@pytest.mark.parametrize("value", [1, -2.5, "a", None, True, [1, 2], (3,), {"k": [1]}])
def test_literal_reads_what_python_writes(value: Any) -> None:
    assert literal(repr(value), "here") == value
    assert type(literal(repr(value), "here")) is type(value)


def test_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("builtins.eval", lambda *_: seen.append("eval"))
    monkeypatch.setattr("builtins.exec", lambda *_: seen.append("exec"))
    with pytest.raises(InputError):
        parse_expression("ewc(x=print('x'))")
    assert parse_expression("ewc(x=[1])")[0].arguments == {"x": ast.literal_eval("[1]")}
    assert seen == []
