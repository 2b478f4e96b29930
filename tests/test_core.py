"""The nouns: prompts are rewritten as asked, and tokens are tallied by role and source."""

from __future__ import annotations

from taut.core import Call, Count, Prompt, Source, Task, Usage, tally_calls, weakest


def usage(completion: int, thinking: int = 0, source: Source = "reported", of_thinking: Source = "reported") -> Usage:
    return Usage(Count(10, source), Count(completion, source), Count(thinking, of_thinking))


def test_the_question_is_the_last_user_message() -> None:
    task = Task(
        "a",
        (
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": "second"},
        ),
    )
    assert task.question == "second"


def test_the_question_of_a_multimodal_message_is_its_text() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "this?"},
    ]
    assert Task("a", ({"role": "user", "content": parts},)).question == "what is\nthis?"


def test_an_instruction_goes_to_the_end_of_the_last_user_message() -> None:
    prompt = Prompt(
        (
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        )
    )
    assert [m["content"] for m in prompt.instruct("be brief").messages] == ["s", "q\n\nbe brief", "a"]


def test_an_instruction_to_a_multimodal_message_becomes_a_part() -> None:
    prompt = Prompt(({"role": "user", "content": [{"type": "text", "text": "q"}]},))
    assert prompt.instruct("be brief").messages[0]["content"][-1] == {"type": "text", "text": "be brief"}


def test_an_instruction_without_a_user_message_becomes_one() -> None:
    assert Prompt(()).instruct("hello").messages == ({"role": "user", "content": "hello"},)


def test_examples_stand_between_the_system_message_and_the_conversation() -> None:
    prompt = Prompt(({"role": "system", "content": "s"}, {"role": "user", "content": "q"}))
    shown = prompt.with_examples(({"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}))
    assert [m["content"] for m in shown.messages] == ["s", "e", "f", "q"]


def test_a_generating_call_splits_into_thinking_and_answer() -> None:
    tallies = tally_calls([Call("generate", "main", usage=usage(100, 70))])
    assert (tallies["thinking"].total, tallies["answer"].total) == (70, 30)


def test_the_answer_is_only_as_certain_as_the_weaker_of_two_counts() -> None:
    tallies = tally_calls([Call("generate", "main", usage=usage(100, 70, of_thinking="estimated"))])
    assert tallies["answer"].estimated == 30
    assert tallies["thinking"].estimated == 70
    assert tallies["answer"].reported == 0


def test_a_probe_counts_as_a_probe_and_a_discarded_call_as_discarded() -> None:
    calls = [
        Call("probe", "main", usage=usage(8)),
        Call("generate", "main", usage=usage(50, 40), discarded=True),
    ]
    tallies = tally_calls(calls)
    assert {role: t.total for role, t in tallies.items() if t.total} == {"probe": 8, "discarded": 50}


def test_tokens_past_a_cut_count_as_discarded() -> None:
    tallies = tally_calls([Call("generate", "main", usage=usage(50, 40), discarded_tokens=4)])
    assert {role: t.total for role, t in tallies.items() if t.total} == {
        "thinking": 40,
        "answer": 6,
        "discarded": 4,
    }


def test_a_call_under_way_costs_nothing_yet() -> None:
    assert sum(t.total for t in tally_calls([Call("generate", "main")]).values()) == 0


def test_the_weakest_source_wins() -> None:
    assert weakest("reported", "counted") == "counted"
    assert weakest("counted", "estimated", "reported") == "estimated"
    assert weakest("reported") == "reported"
