"""One function of somebody's file into the library's file, and functions made blank."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lessons.classroom.splice import UnusableError, blank, is_blank, locate, parse, splice

LIBRARY = '''"""A module."""

import math

SCALE = 2


def helper(x):
    return x


def area(r, *, exact=True):
    """The area."""
    # a remark that gives it away
    if exact:
        return math.pi * helper(r) ** 2
    return 3 * r * r


class Box:
    """A box."""

    def __init__(self, side):
        self.side = side

    def volume(self):
        """Its volume."""
        return self.side**3

    def twice(self):
        return Box(2 * self.side)
'''


def run(text, expression):
    scope = {}
    exec(compile(text, "spliced", "exec"), scope)
    return eval(expression, scope)


def test_a_blank_keeps_signature_and_docstring_and_says_where_it_stands():
    text = blank(LIBRARY, "a/b.py", {"area": "1.1", "Box.volume": "1.2"})
    assert "remark" not in text and "math.pi" not in text and "side**3" not in text, text
    assert 'def area(r, *, exact=True):\n    """The area."""\n    raise NotImplementedError("exercise 1.1 · area · a/b.py:14")\n' in text
    lines = text.splitlines()
    for name, number in (("area", "1.1"), ("Box.volume", "1.2")):
        line = next(i for i, line in enumerate(lines, 1) if f"exercise {number}" in line)
        assert f'· {name} · a/b.py:{line}"' in lines[line - 1], lines[line - 1]
        assert is_blank(locate(parse(text, ""), name)[0])
    assert run(text, "Box(2).twice().side") == 4, "the rest works on"
    assert not is_blank(locate(parse(LIBRARY, ""), "area")[0])


def test_a_function_takes_the_place_of_the_librarys():
    mine = LIBRARY.replace("return 3 * r * r", "return 300 * r").replace("return x", "return 99 * x")
    spliced = splice(LIBRARY, "area", mine, "b.py")
    assert run(spliced.text, "area(2, exact=False)") == 600
    assert run(spliced.text, "helper(1)") == 1, "a function that was not asked for stays the library's"


def test_helpers_constants_and_imports_come_along_and_nothing_else():
    mine = LIBRARY.replace("import math", "import math\nimport cmath as cm\nimport os").replace(
        "def area", "PI = third(9.42)\nUNUSED = 1\n\n\ndef third(x):\n    return x / cm.sqrt(9).real\n\n\ndef unused():\n    pass\n\n\ndef area"
    )
    mine = mine.replace("PI = third(9.42)\n", "").replace("def unused", "PI = third(9.42)\n\n\ndef unused").replace("math.pi", "PI")
    text = splice(LIBRARY, "area", mine, "b.py").text
    assert run(text, "area(1)") == pytest.approx(3.14)
    assert "UNUSED" not in text and "unused" not in text and "import os" not in text, text


def test_a_method_keeps_its_place_and_brings_new_methods_along():
    mine = LIBRARY.replace(
        "        return self.side**3\n", "        return self.face() * self.side\n\n    def face(self):\n        return self.side * self.side\n"
    )
    assert run(splice(LIBRARY, "Box.volume", mine, "b.py").text, "Box(3).twice().volume()") == 216
    tabs = 'class Box:\n\tdef volume(self):\n\t\t"""Its volume."""\n\t\treturn self.side**4\n'
    assert run(splice(LIBRARY, "Box.volume", tabs, "b.py").text, "Box(2).volume()") == 16, "another indentation does not matter"


def test_a_method_brings_what_its_methods_need_and_constants_of_the_class():
    more = "    K = 2\n\n    def face(self):\n        return self.edge() ** 2\n\n    def edge(self):\n        return 5\n"
    mine = LIBRARY.replace("        return self.side**3\n", f"        return self.face() * self.K\n\n{more}")
    assert run(splice(LIBRARY, "Box.volume", mine, "b.py").text, "Box(3).volume()") == 50


def test_scratch_code_that_shares_a_name_with_a_local_variable_stays_behind():
    mine = LIBRARY.replace("return 3 * r * r", "x = 3 * r\n    return sum(x for y in [r])") + "\n\nfor x in (1, 2):\n    print(area(x), y := x)\n"
    spliced = splice(LIBRARY, "area", mine, "b.py").text
    assert "print" not in spliced, f"`x` is the function's own: the loop at the end should stay behind, but came along:\n{spliced}"
    assert run(spliced, "area(2, exact=False)") == 6


@pytest.mark.parametrize("begin", [
    "from cmath import *\n", "try:\n    from cmath import phase\nexcept ImportError:\n    phase = None\n",
    "if True:\n    def phase(z):\n        return 3.5\n", "import os\nwith open(os.devnull) as phase:\n    phase = abs\n",
])  # fmt: skip
def test_a_name_may_come_from_anywhere_in_the_module(begin):
    mine = begin + LIBRARY.replace("return 3 * r * r", "return phase(-1) * r")
    assert run(splice(LIBRARY, "area", mine, "b.py").text, "area(2, exact=False)") >= 2
    assert "cmath" not in splice(LIBRARY, "area", begin + LIBRARY, "b.py").text, "what is not needed stays behind"


def test_a_text_over_several_lines_stays_as_it_is():
    mine = LIBRARY.replace("return self.side**3", "return \'\'\'one\ntwo\n  three\'\'\'")
    assert run(splice(LIBRARY, "Box.volume", mine, "b.py").text, "Box(3).volume()") == "one\ntwo\n  three"


def test_an_answer_is_renamed_and_leaves_its_mark_behind():
    answer = '@wrong("1.1", "why?")\ndef area_doubled(r, *, exact=True):\n    return 2 * ring(r)\n\n\ndef ring(r):\n    return math.pi * r * r\n'
    text = splice(LIBRARY, "area", answer, "answers/01.py", wanted="area_doubled").text
    assert run(text, "area(1)") == pytest.approx(6.283, abs=1e-3)
    assert "wrong" not in text and "area_doubled" not in text


def test_a_line_knows_its_number_in_its_authors_file():
    mine = "# a remark\n\n" + LIBRARY.replace("return 3 * r * r", "return r / 0")
    spliced = splice(LIBRARY, "area", mine, "b.py")
    at = spliced.text.splitlines().index("    return r / 0") + 1
    assert spliced.lines[at] == mine.splitlines().index("    return r / 0") + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def area(:\n", "b.py:1 is not Python yet"),
        ("x = 1\n\nif x\n", "b.py:3 is not Python yet"),
        ("\0", "b.py"),
        ("(" * 5000, "b.py"),
        ("def volume(): pass", "b.py has no function area any more"),
    ],
    ids=["syntax", "third line", "null", "brackets", "another name"],
)
def test_what_cannot_be_spliced_says_why(text, said):
    with pytest.raises(UnusableError, match=said):
        splice(LIBRARY, "area", text, "b.py")


def test_many_threads_may_splice_at_once():
    """Python 3.11 cannot make two syntax trees at once."""
    text = LIBRARY + "\n".join(f"def f{k}(x): return [x, (x, {{x: -x ** 2 + {k}}})]" for k in range(400)) + "\n"

    def interrupted(*_):  # a collection of garbage that runs Python, as JAX's does, lets another thread in
        time.sleep(0)

    gc.callbacks.append(interrupted)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: splice(LIBRARY, "area", text, "b.py").text, range(40)))
    finally:
        gc.callbacks.remove(interrupted)
    assert len(set(found)) == 1
