"""How commands are found in pages, and what is held against a page whose commands do something else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pages import Command, blocks, commands, fits, shell

ENV = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
PAGE = """# Title

<!-- file: a/b.txt -->

```text
hello
```

<!-- soon -->
```console
$ cat a/b.txt
hello
$ echo one \\
>   two; exit_with 3
one …
$ echo $?
3
```

<!-- not run: it takes
a whole day -->

```sh
sleep 1d
```

```sh
for i in 1 2; do
  echo $i
done
false # exits with 1 at once
```

```yaml
a: 1
```
"""


def test_blocks_come_with_what_the_comment_above_them_says() -> None:
    found = blocks(PAGE, "page.md")

    assert [(one.language, one.note, one.value, one.is_run) for one in found] == [
        ("text", "file", "a/b.txt", False),
        ("console", "soon", "", True),
        ("sh", "not run", "it takes a whole day", False),
        ("sh", "", "", True),
        ("yaml", "", "", False),
    ]
    assert found[0].place == "page.md:5"


def test_commands_come_one_by_one_with_what_they_print_and_exit_with() -> None:
    _, console, _, plain, _ = blocks(PAGE, "p")

    assert list(commands(console)) == [
        Command("cat a/b.txt", "p:10", "hello\n"),
        Command("echo one \\\n  two; exit_with 3", "p:10", "one …\n", 3),
        Command("echo $?", "p:10", "3\n"),
    ]
    assert list(commands(plain)) == [
        Command("for i in 1 2; do\n  echo $i\ndone", "p:27"),
        Command("false # exits with 1 at once", "p:27", code=1),
    ]


def test_a_comment_that_is_misspelt_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="'not runn' is none of"):
        blocks("<!-- not runn: why -->\n```sh\ntrue\n```\n", "p")


@pytest.mark.parametrize(
    ("printed", "expected", "fit"),
    [
        ("a   b\n", "a b", True),
        ("a b\n", "a c", False),
        ("job 17 is done\n", "job … is done", True),
        ("job 17 is dead\n", "job … is done", False),
        ("1\n2\n3\n", "1\n…\n3", True),
        ("1\n3\n", "1\n…\n3", True),
        ("1\n3\n4\n", "1\n…\n3", False),
        ("a.c\n", "abc", False),
        ("", "a", False),
    ],
)
def test_what_is_printed_has_to_be_what_is_shown(printed: str, expected: str, fit: bool) -> None:
    assert fits(printed, expected) is fit


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```sh\nfalse\n```\n", "exited with 1"),
        ("```sh\ntrue # exits with 2\n```\n", "exited with 0"),
        ("```console\n$ echo a\nb\n```\n", "printed:\na"),
        ("<!-- goes on: ready -->\n```sh\necho steady\n```\n", "ended:\nsteady"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    ],
)
def test_a_command_that_does_something_else_is_an_error(
    page: str, said: str, tmp_path: Path
) -> None:
    with shell(tmp_path, tmp_path, ENV) as opened:
        [block] = blocks(page, "p")
        with pytest.raises(AssertionError) as caught:
            opened.follow(block)
    assert said in str(caught.value)


def test_what_one_command_leaves_the_next_one_finds(tmp_path: Path) -> None:
    page = """<!-- file: said.txt -->
```text
hello
```

```sh
mkdir below && cd below
export WORD="some
words"
```

```console
$ (exit 4)
$ echo $?
4
$ cat ../said.txt; echo "$WORD"
hello
some
words
```

<!-- goes on: begun -->
```sh
trap 'touch ended' INT; echo begun; sleep 1000
```

<!-- after Ctrl-C -->
```console
$ ls
ended
```
"""
    with shell(tmp_path, tmp_path, ENV) as opened:
        for block in blocks(page, "p"):
            opened.follow(block)
