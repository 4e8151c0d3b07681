"""Who besides us can read a file that holds a secret."""

from __future__ import annotations

import os
import stat


def others_can_read(state: os.stat_result) -> bool:
    """Whether a file's mode, or its owner, lets anybody else see what is in it.

    Good are a file of our own of mode 0600, and a mounted secret: root's, read by our group, written by neither group
    nor others (Kubernetes writes it with mode 0440 and the pod's `fsGroup`, and nobody else is in the pod;
    kubernetes.io/docs, "Secrets"). What any other user owns he can read and change.

    Args:
        state: of the very file that is read (`os.fstat`), not of one put in its place.
    """
    mode, user = stat.S_IMODE(state.st_mode), os.geteuid()
    if state.st_uid == user:
        return bool(mode & 0o077)
    return state.st_uid != 0 or bool(mode & 0o037)
