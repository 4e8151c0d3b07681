"""The `domainlm` command: one file a command, each thin; torch and ZenML are imported only once a run really starts."""
