"""Risk tiers of models, and what a champion's challenger may have been found to be.

Tier 1 is the highest risk. An institution assigns them by its own inventory: SR 26-2 (17 April 2026) asks for controls
in proportion to a model's materiality, and Regulation (EU) 2024/1689 (AI Act) for human oversight of high-risk systems
(Art. 14). Neither numbers tiers; three are common practice. A tier that nobody stated is the highest.

What a contest may bear, and on how little it may rest, where an approval in advance says nothing else, stands here too.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

HIGHEST, LOWEST = 1, 3
Tier = Annotated[int, Field(ge=HIGHEST, le=LOWEST)]

# loss of a metric that is borne; independent groups that a verdict rests on; confidence of its intervals
MOST_TOLERANCE, LEAST_GROUPS, LEAST_CONFIDENCE = 0.05, 10, 0.95
# the verdict of a contest between champion and challenger
BETTER, EQUAL, WORSE, NOT_ASSESSABLE, NO_CHAMPION = "better", "equal", "worse", "not-assessable", "no-champion"
