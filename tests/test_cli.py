"""The command line: what is wrong is said in one sentence that names it and what would be right, with exit code 2."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from taut import plugins
from taut.cli import INTERRUPTED, VERBS, main
from taut.config import method_names
from tests.engines.fake_upstream import FakeUpstream, Reply

GOOD = '{"question": "What is 1 + 2?", "answer": "3"}\n'
TOML = """
[engines.mine]
kind = "fake"
[presets.short]
method = "concise"
word_limit = 20
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one question and a taut.toml; no key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "questions.jsonl").write_text(GOOD, encoding="utf-8")
    (tmp_path / "taut.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


BENCH = ("bench", "--engine", "fake", "--task", "questions.jsonl", "--out", "run")


def complaint_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a failing command says: one line on stderr, nothing on stdout, exit code 2."""
    capsys.readouterr()
    assert main(arguments) == 2
    output, complaint = capsys.readouterr()
    assert output == ""
    assert "Traceback" not in complaint
    assert complaint.startswith("taut: ")
    assert complaint.count("\n") == 1
    assert complaint.endswith("\n")
    return complaint.removeprefix("taut: ")


WRONG_ARGUMENTS = {
    "no verb": ((), ("VERB", "taut --help")),
    "unknown verb": (("bnch",), ("'bnch'", "did you mean 'bench'?", ", ".join(VERBS))),
    "unknown argument": ((*BENCH, "--limt", "3"), ("'--limt'", "did you mean '--limit'?", "taut bench --help")),
    "misspelt required argument": (("bench", "--tsk", "gsm8k"), ("'--tsk'", "did you mean '--task'?")),
    "too many words": (("list", "tasks", "methods"), ("'methods'",)),
    "missing argument": (("bench", "--out", "run"), ("--task",)),
    "value missing": ((*BENCH, "--limit"), ("--limit",)),
    "no questions": ((*BENCH, "--limit", "0"), ("--limit", "'0' is not a whole number from 1")),
    "limit in words": ((*BENCH, "--limit", "ten"), ("--limit", "'ten'")),
    "odd digits": ((*BENCH, "--limit", "²"), ("--limit", "²")),
    "negative temperature": ((*BENCH, "--temperature=-1"), ("--temperature", "'-1' is not a number from 0")),
    "temperature not a number": ((*BENCH, "--temperature", "nan"), ("--temperature", "'nan'")),
    "no file for --config": ((*BENCH, "--config", "absent.toml"), ("--config", "absent.toml")),
    "unknown preset": ((*BENCH, "--preset", "concize"), ("'concize'", "did you mean 'concise'?")),
    "unknown preset of the file": ((*BENCH, "--preset", "shrt"), ("'shrt'", "did you mean 'short'?")),
    "unknown parameter": (
        (*BENCH, "--preset", "concise:word_limt=3"),
        ("'word_limt'", "did you mean 'word_limit'?"),
    ),
    "wrong parameter": ((*BENCH, "--preset", "concise:word_limit=x"), ("word_limit", "'x'")),
    "empty preset": ((*BENCH, "--preset", ""), ("no method or preset named ''",)),
    "preset twice": ((*BENCH, "--preset", "direct", "--preset", "direct"), ("'direct' is given twice",)),
    "baseline not among the presets": (
        (*BENCH, "--preset", "direct", "--preset", "concise", "--baseline", "consise"),
        ("--baseline 'consise'", "did you mean 'concise'?", "direct, concise"),
    ),
    "unknown task": (("bench", "--task", "gsm8", "--out", "run"), ("'gsm8'", "did you mean 'gsm8k'?")),
    "unknown engine": ((*BENCH[:2], "embeded", *BENCH[3:]), ("'embeded'", "did you mean 'embedded'?")),
    "unknown engine of the file": ((*BENCH[:2], "mine2", *BENCH[3:]), ("'mine2'", "did you mean 'mine'?")),
    "no model file": ((*BENCH[:2], "embedded:absent.gguf", *BENCH[3:]), ("absent.gguf",)),
    "two main engines": ((*BENCH, "--engine", "mine"), ("two engines are given for 'main'", "--engine NAME=")),
    "no main engine": (
        ("bench", "--engine", "small=fake", "--task", "questions.jsonl", "--out", "run"),
        ("none of the engines is the main one",),
    ),
    "missing data file": (("bench", "--task", "absent.jsonl", "--out", "run"), ("absent.jsonl", "No such file")),
    "a column without a name": ((*BENCH, "--column", "question"), ("--column", "ROLE=NAME")),
    "a column that is not there": ((*BENCH, "--column", "question=prompt"), ("line 1", "'prompt'")),
    "unknown verifier": ((*BENCH, "--verifier", "numbr"), ("'numbr'", "did you mean 'number'?")),
    "out is a file": ((*BENCH[:-1], "taut.toml"), ("taut.toml", "cannot make the folder")),
    "unknown group to list": (("list", "tsks"), ("'tsks'", "did you mean 'tasks'?")),
    "no data there": (("bench", "--task", "gsm8k", "--data", "absent", "--out", "run"), ("absent",)),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_wrong_arguments_are_named_with_what_would_be_right(capsys: pytest.CaptureFixture[str], name: str) -> None:
    arguments, expected = WRONG_ARGUMENTS[name]
    complaint = complaint_of(capsys, *arguments)
    for part in expected:
        assert part in complaint
    assert not Path("run").exists()


WRONG_FILES = {
    "empty": (b"", ("questions.jsonl", "has no rows")),
    "blank lines only": (b"\n\n  \n", ("questions.jsonl", "has no rows")),
    "a broken line": (GOOD.encode() + b'{"question": "What\n', ("questions.jsonl, line 2", "not JSON")),
    "no object": (GOOD.encode() * 2 + b"[1]\n", ("line 3", "not a JSON object")),
    "not UTF-8": (GOOD.encode() + b'{"question": "\xff\xfe", "answer": "1"}\n', ("line 2",)),
    "an empty question": (b'{"question": "", "answer": "1"}\n', ("line 1", "'question' is empty")),
    "no question column": (b'{"qestion": "x", "answer": "1"}\n', ("line 1", "did you mean 'qestion'?")),
    "two of one id": (b'{"question": "x", "id": 1}\n{"question": "y", "id": 1}\n', ("line 2", "line 1", "unique")),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_data_file_is_refused_naming_the_line(
    capsys: pytest.CaptureFixture[str], folder: Path, name: str
) -> None:
    content, expected = WRONG_FILES[name]
    (folder / "questions.jsonl").write_bytes(content)
    complaint = complaint_of(capsys, *BENCH)
    for part in expected:
        assert part in complaint


def test_a_folder_in_the_place_of_a_data_file_is_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "dir.jsonl").mkdir()
    complaint = complaint_of(capsys, "bench", "--engine", "fake", "--task", "dir.jsonl", "--out", "run")
    assert "dir.jsonl cannot be read: Is a directory" in complaint


WRONG_TOML = {
    "not TOML": ("[presets.x", ("taut.toml", "not valid TOML")),
    "unknown section": ("[preset.x]\nmethod='direct'", ("[preset]", "did you mean 'presets'?")),
    "unknown key of a preset": ("[presets.x]\nmethod='concise'\nwords=3", ("[presets.x]", "'words'")),
    "unknown method": ("[presets.x]\nmethod='concize'", ("'concize'", "did you mean 'concise'?")),
    "wrong type": ("[presets.x]\nmethod='concise'\nword_limit='many'", ("word_limit", "'many'")),
}


@pytest.mark.parametrize("name", WRONG_TOML)
def test_a_wrong_file_of_presets_is_named(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> None:
    content, expected = WRONG_TOML[name]
    (folder / "taut.toml").write_text(content, encoding="utf-8")
    complaint = complaint_of(capsys, *BENCH)
    for part in expected:
        assert part in complaint


WRONG_ENGINES = {
    "unknown key": ("kind='fake'\ntoken=0.5", ("[engines.x]", "'token'", "did you mean 'token_s'?")),
    "unknown kind": ("kind='opnai'\nurl='http://x'", ("'opnai'", "did you mean 'openai'?")),
    "no kind": ("url='http://x'", ("[engines.x]", "'kind'")),
    "no address": ("kind='openai'", ("[engines.x]", "url is missing")),
    "wrong type": ("kind='fake'\ntoken_s='slow'", ("token_s", "'slow'")),
    "no address at all": ("kind='openai'\nurl='ftp://x'", ("ftp://x",)),
    "unknown server": ("kind='openai'\nurl='http://127.0.0.1:9'\nserver='vlm'", ("'vlm'", "did you mean 'vllm'?")),
    "unknown feature": (
        "kind='openai'\nurl='http://127.0.0.1:9'\noffers=['logprob']",
        ("'logprob'", "did you mean 'logprobs'?"),
    ),
}


@pytest.mark.parametrize("name", WRONG_ENGINES)
def test_a_wrong_engine_in_the_file_is_named(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> None:
    content, expected = WRONG_ENGINES[name]
    (folder / "taut.toml").write_text(f"[engines.x]\n{content}", encoding="utf-8")
    complaint = complaint_of(capsys, "bench", "--engine", "x", *BENCH[3:])
    for part in expected:
        assert part in complaint


def test_a_server_that_is_down_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    complaint = complaint_of(capsys, "bench", "--engine", f"http://127.0.0.1:{port}", *BENCH[3:])
    assert f"no server answers at http://127.0.0.1:{port}" in complaint


PAGE = Reply([b"<html><body>Welcome</body></html>"], content_type="text/html")
DENIED = Reply([b'{"error": {"message": "bad key sk-secret"}}'], status=401, content_type="application/json")
ABSENT = Reply([b'{"error": {"message": "no such model"}}'], status=404, content_type="application/json")
TWO_MODELS = [{"id": "big-model", "owned_by": "x"}, {"id": "small-model", "owned_by": "x"}]


async def complaint_about(capsys: pytest.CaptureFixture[str], server: FakeUpstream, more: str = "", *add: str) -> str:
    """What ``taut bench`` says about this server."""
    async with server:
        text = f'[engines.x]\nkind = "openai"\nurl = "{server.url}"\nmax_retries = 0\n{more}\n'
        await asyncio.to_thread(Path("taut.toml").write_text, text)
        return await asyncio.to_thread(complaint_of, capsys, "bench", "--engine", "x", *BENCH[3:], *add)


async def test_a_server_that_answers_with_a_web_page_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeUpstream(pages={"/v1/models": PAGE})
    complaint = await complaint_about(capsys, server)
    assert server.url in complaint
    assert "answered with a web page" in complaint


async def test_a_wrong_key_is_told_without_the_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    complaint = await complaint_about(capsys, FakeUpstream(pages={"/v1/models": DENIED}))
    assert "refused the key (401)" in complaint
    assert "OPENAI_API_KEY" in complaint
    assert "sk-secret" not in complaint


async def test_a_model_that_the_server_does_not_have_is_named_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complaint = await complaint_about(capsys, FakeUpstream(models=TWO_MODELS), 'model = "smal-model"')
    assert "no model 'smal-model' (did you mean 'small-model'?)" in complaint


async def test_several_models_ask_for_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert "big-model, small-model" in await complaint_about(capsys, FakeUpstream(models=TWO_MODELS))


async def test_a_server_without_a_list_that_knows_no_such_model_is_told_after_the_first_questions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = FakeUpstream([ABSENT], pages={"/v1/models": ABSENT})
    complaint = await complaint_about(capsys, server, 'model = "absent"', "--preset", "direct", "--rollouts", "9")
    assert "no such model" in complaint
    assert "404" in complaint


async def test_an_engine_that_lacks_what_a_method_needs_is_named_with_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = FakeUpstream(kind="hosted")
    complaint = await complaint_about(capsys, server, "", "--preset", "budget_forcing")
    assert "'budget_forcing' needs prefill" in complaint
    assert "does not offer it" in complaint
    assert server.calls == []
    assert not Path("run").exists()


async def test_a_server_that_hangs_at_the_start_is_told_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeUpstream(pages={"/v1/models": Reply(then="hang")})
    complaint = await complaint_about(capsys, server, "connect_timeout_s = 0.2")
    assert "did not answer" in complaint


def test_list_names_everything_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    for group in plugins.FOLDERS:
        assert set(plugins.entries(group)) <= set(words)
    assert set(method_names()) <= set(words)


def test_list_of_one_group_is_that_group_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "engines"]) == 0
    output = capsys.readouterr().out
    assert "fake" in output
    assert "gsm8k" not in output


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("bench", "list", "doctor"):
        with pytest.raises(SystemExit) as caught:
            main([verb, "--help"])
        assert caught.value.code == 0
        assert f"taut {verb}" in capsys.readouterr().out


def test_ctrl_c_has_an_exit_code_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(spec: str, options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taut.tasks.load_tasks", interrupted)
    assert main(BENCH) == INTERRUPTED
    assert capsys.readouterr().err == "taut: interrupted\n"


def test_a_sweep_prints_its_table_and_where_the_run_is(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*BENCH[:2], "mine", *BENCH[3:], "--preset", "direct", "--preset", "short"]) == 0
    output = capsys.readouterr().out
    assert "direct" in output
    assert "short" in output
    assert str(Path("run")) in output
    assert set(json.loads((folder / "run" / "summary.json").read_bytes()))
