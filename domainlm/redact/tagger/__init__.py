"""Names and places without a download: a small linear-chain model of our own, and the program that trains it.

    python -m domainlm.redact.tagger.train            # rewrites domains/finance/tagger/
    python -m domainlm.redact.tagger.train --check    # trains again and compares with what is committed

`tokens` cuts a text, `features` says what is known of each word, `model` decides, `carriers` makes the training text
from the pack's hand-written seeds, `train` fits. Deciding needs numpy and safetensors for loading and nothing else.
"""
