"""One file a step: load, call, log, return. The thinking lies in `domainlm/`."""

import materializers  # noqa: F401 - registers our materializers, so that no step's output falls back to pickle
