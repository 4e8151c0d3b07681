"""Changed copies of training prompts, so that a training leans less on the exact wording.

The operations are those of EDA (Wei and Zou 2019) that need no thesaurus: neighbouring words change places, or a word
is left out. What carries an answer in finance is never touched: numbers, currencies, percentages, words with a capital,
negations and directions, and every word of the answer itself. A copy's changes are a function of seed, record id and
number of the copy, so that a record that lands later changes nobody else's copies.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domainlm.text import words

if TYPE_CHECKING:
    from domainlm.train.mixture import Example
    from domainlm.train.settings import TrainSettings

# words whose loss would turn an answer round
KEPT = frozenset(
    "no not nor never none neither without less fewer more than above below under over up down rise rises rose fall"
    " falls fell gain gains gained loss losses lost lose increase decrease higher lower before after from to until"
    " since only except unless if and or but per of in by".split()
)
_PLAIN = re.compile(r"[a-z]{3,}[.,;:?!]?")  # no digit, no sign, no name, no acronym, no other script


def augmented(found: Sequence[Example], settings: TrainSettings) -> list[Example]:
    """The examples, each followed by its changed copies; one that nothing can be changed in has none."""
    if not settings.augment_copies:
        return list(found)
    grown: list[Example] = []
    for example in found:
        grown.append(example)
        seen = {example.prompt}
        for copy in range(settings.augment_copies):
            generator = random.Random(f"{settings.seed}/{example.id}/{copy}")
            prompt = changed(example.prompt, example.completion, settings.augment_rate, generator)
            if prompt not in seen:
                seen.add(prompt)
                grown.append(example._replace(prompt=prompt))
    return grown


def changed(prompt: str, completion: str, rate: float, generator: random.Random) -> str:
    """A prompt with about `rate` of its free words moved or left out.

    Args:
        prompt: a rendered prompt; its marks (`##Question:`) hold no free word.
        completion: the answer, whose words stay.
        rate: share of the free words, at least one.
        generator: decides which, and how.
    """
    answer = frozenset(words(completion))
    lines = [line.split(" ") for line in prompt.split("\n")]
    free = [
        (number, place)
        for number, line in enumerate(lines)
        for place, word in enumerate(line)
        if _PLAIN.fullmatch(word) and word.strip(".,;:?!").lower() not in KEPT and not answer & set(words(word))
    ]
    for number, place in generator.sample(free, min(len(free), max(1, round(rate * len(free))))):
        line = lines[number]
        if generator.random() < 0.5 and (number, place + 1) in free and line[place] and line[place + 1]:
            line[place], line[place + 1] = line[place + 1], line[place]
        else:
            line[place] = ""
    return "\n".join(" ".join(word for word in line if word) for line in lines)
