"""Generating and scoring in batches gives what one row at a time gives."""

from __future__ import annotations

import math

import pytest
import torch

from domainlm.errors import ModelError
from domainlm.models import (
    bits_per_character,
    completion_lengths,
    completion_log_likelihoods,
    encode,
    generate,
    load_base,
)

PROMPTS = [
    "At Haneul Bank",
    "For owners this is good",
    "At Dorvane Steel the order book climbs in quarter 2. For",
    "demand",
]


@pytest.fixture(scope="module")
def loaded(tiny_base):
    return load_base(tiny_base, None, "none")


def test_a_batch_says_what_single_prompts_say(loaded) -> None:
    model, tokenizer = loaded
    together = generate(model, tokenizer, PROMPTS, max_new_tokens=12, batch=4)
    alone = [generate(model, tokenizer, [prompt], max_new_tokens=12)[0] for prompt in PROMPTS]
    assert together == alone


def test_generation_is_greedy(loaded) -> None:
    """Against a loop of whole forwards without any cache."""
    model, tokenizer = loaded
    ids = tokenizer(PROMPTS[2], return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(8):
            ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert generate(model, tokenizer, [PROMPTS[2]], max_new_tokens=8)[0].text == tokenizer.decode(ids[0, start:])


def test_an_answer_that_ran_out_of_budget_is_not_called_stopped(loaded) -> None:
    model, tokenizer = loaded
    answer = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=2)[0]
    assert not answer.stopped and answer.text


def test_batched_scores_equal_a_plain_scorer(loaded) -> None:
    model, tokenizer = loaded
    completions = [" profit rises", " news, and the shares move.", " owners", " falls"]
    expected = []
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        head = tokenizer(prompt)["input_ids"]
        tail = tokenizer(completion)["input_ids"] + [tokenizer.eos_token_id]
        with torch.inference_mode():
            logs = model(input_ids=torch.tensor([head + tail])).logits.log_softmax(-1)[0]
        expected.append(sum(logs[len(head) + place - 1, token].item() for place, token in enumerate(tail)))
    assert completion_log_likelihoods(model, tokenizer, PROMPTS, completions, batch=3) == pytest.approx(
        expected, abs=1e-3
    )


def test_a_shared_beginning_is_read_once_and_changes_no_score(loaded) -> None:
    """Few-shot prompts begin alike; their key-value cache is shared over all batches."""
    model, tokenizer = loaded
    shots = "For owners this is good news, and the shares move. At Kestrel Foods demand slides in quarter 1. " * 2
    prompts, completions = [shots + prompt for prompt in PROMPTS], [" good", " bad news", " owners", " x"]
    together = completion_log_likelihoods(model, tokenizer, prompts, completions, batch=3)
    alone = [
        completion_log_likelihoods(model, tokenizer, [p], [c])[0] for p, c in zip(prompts, completions, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-3)


def test_scores_do_not_depend_on_batch_or_order(loaded) -> None:
    model, tokenizer = loaded
    completions = [" good", " bad", " climbs in quarter 3.", " x"]
    forward = completion_log_likelihoods(model, tokenizer, PROMPTS, completions, batch=4)
    backward = completion_log_likelihoods(model, tokenizer, PROMPTS[::-1], completions[::-1], batch=1)[::-1]
    assert forward == pytest.approx(backward, abs=1e-4)


def test_the_eos_counts_only_where_asked(loaded) -> None:
    model, tokenizer = loaded
    with_end, without = (
        completion_log_likelihoods(model, tokenizer, ["At"], [" owners"], end=end)[0] for end in (True, False)
    )
    assert with_end < without < 0
    assert (
        completion_lengths(tokenizer, [" owners"], end=True)[0]
        == completion_lengths(tokenizer, [" owners"], end=False)[0] + 1
    )


def test_prompt_and_completion_are_tokenized_apart_and_end_with_eos(loaded) -> None:
    _, tokenizer = loaded
    ((head, tail),) = encode(tokenizer, ["At Haneul"], [" Bank"])
    assert tokenizer.decode(head) == "At Haneul" and tokenizer.decode(tail[:-1]) == " Bank"
    assert tail[-1] == tokenizer.eos_token_id and head[-1] != tokenizer.eos_token_id


def test_a_broken_model_gives_an_error_and_no_score(tiny_base) -> None:
    model, tokenizer = load_base(tiny_base, None, "none")
    with torch.no_grad():
        model.transformer.ln_f.weight[0] = math.nan
    with pytest.raises(ModelError, match="no finite score for 1 of 1"):
        completion_log_likelihoods(model, tokenizer, ["At"], [" owners"])


def test_what_does_not_fit_into_the_context_is_refused(loaded) -> None:
    model, tokenizer = loaded
    long = "owners " * 200
    with pytest.raises(ModelError, match="1 of 2 rows"):
        generate(model, tokenizer, [long, "At"], max_new_tokens=4)
    with pytest.raises(ModelError, match="context has 128"):
        completion_log_likelihoods(model, tokenizer, [long], [" x"])


def test_bits_per_character_of_a_uniform_model_are_its_tokens_times_log_vocabulary(loaded) -> None:
    model, tokenizer = loaded
    import copy

    uniform = copy.deepcopy(model)
    with torch.no_grad():
        uniform.get_input_embeddings().weight.zero_()
    text = "For owners this is bad news"
    tokens = len(tokenizer(text)["input_ids"])
    expected = tokens * math.log2(model.config.vocab_size) / len(text)
    assert bits_per_character(uniform, tokenizer, [text]) == pytest.approx(expected, rel=1e-4)


def test_scores_are_those_of_each_row_alone_with_all_its_logits(tiny_base) -> None:
    """Long and short prompts in one batch, an empty completion among them: only some logits are made for them."""
    model, tokenizer = load_base(tiny_base, None, "none")
    prompts = ["Profit", "At Haneul Bank profit rises in quarter 1. For owners this is", "Demand falls. So"]
    completions = [" rises and climbs", " good news", ""]
    found = completion_log_likelihoods(model, tokenizer, prompts, completions, end=False)
    for score, prompt, completion in zip(found, prompts, completions, strict=True):
        head = tokenizer(prompt)["input_ids"]
        tail = tokenizer(completion, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([head + tail])).logits[0].log_softmax(-1)
        alone = sum(logits[len(head) + place - 1, token].item() for place, token in enumerate(tail))
        assert score == pytest.approx(alone, abs=1e-4)
