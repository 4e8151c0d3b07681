"""Keys out of ZenML's secret manager: `DOMAINLM_KEY_SECRET` names the secret, the active stack's secret store holds it.

    zenml secret create redaction-key --values=@bank.key     (and delete the file)

The secret holds what a key file does: `key_id`, `secret`, and `retired` after a rotation.
"""

from __future__ import annotations

import json

from domainlm.errors import SecretError
from domainlm.keys import KEY_SECRET_VARIABLE, KeyRing


def load_keys(mode: str | None = None) -> KeyRing:
    """The key of this run, from wherever it is kept; what a step or a command calls in place of `KeyRing.load`.

    Args:
        mode: "production" refuses the development key; by default what `DOMAINLM_MODE` says.

    Raises:
        SecretError: there is none, or it must not be used; see `KeyRing.load`.
    """
    return KeyRing.load(read_secret=_from_zenml, mode=mode)


def _from_zenml(name: str) -> str:
    from zenml.client import Client

    try:
        # By its whole name: the nearest match of a misspelled one would be another institution's key.
        found = Client().get_secret(name, allow_partial_name_match=False, allow_partial_id_match=False)
        values = found.secret_values
    except Exception as error:  # a secret manager's message may quote what it was asked for
        raise SecretError(
            f"ZenML's secret manager does not hand it out ({type(error).__name__})",
            f"secret '{name}', named by {KEY_SECRET_VARIABLE}",
            "create it with `zenml secret create`, or ask for the right to read it",
        ) from None
    return json.dumps(values)
