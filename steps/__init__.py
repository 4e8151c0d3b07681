"""One file a step: load, call, log, return. The thinking lies in `domainlm/`."""
