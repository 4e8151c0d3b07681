"""What may be shown of a pod's log: lines whose shape says that they quote no data; the others are counted.

A log holds what libraries print, and libraries like to quote the value that they choke on. So a line is shown only if
it is of a known kind: ZenML's words about steps, a frame of a traceback (file, line, function), and the line that names
an exception: with its message where the exception is our own, whose messages never quote data, or where the message is
about modules, addresses and rights; else with its type alone.

The withheld lines stay where they are: `kubectl logs` shows them to whoever may read the namespace's logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from domainlm.cluster import reasons
from domainlm.cluster.memory import EXCEPTION, VAGUE
from domainlm.cluster.pods import MAIN, ORCHESTRATOR, Object, Seen, name_of, phase_of, uid_of
from domainlm.cluster.reasons import LACKS_PACKAGE, Keys, Reason

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STEP = r"[`']?[A-Za-z_][\w.-]*[`']?"
_KNOWN = tuple(
    re.compile(pattern)
    for pattern in (
        rf"Step {_STEP} (has started|has finished in [\w. ]+|failed[\w .:]*|stopped[\w .]*)\.?",
        rf"(Using cached version of|Retrying|Launching|Failed to run|Failed to execute) (step )?{_STEP}\.?",
        r"(The )?[Ff]ollowing steps (failed|were skipped[\w ]*): [\w, .`'-]+",
        rf"Node {_STEP} started \(status: \w+\)",
        r"Orchestrator pod (started|finished)\.",
        r"Stopping DAG execution because pipeline run is in `?\w+`? state\.",
        r"DAG execution interrupted\.",
        r"Traceback \(most recent call last\):",
        r"\+?\s*(During handling of the above exception, another exception occurred|The above exception was the direct "
        r"cause of the following exception):",
    )
)
_FRAME = re.compile(r'\s+File "(/[\w./-]+|<frozen [\w.]+>)", line \d+, in [\w<>.]+')
_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Refused|Violation|Incomplete|Failed|Taken|Stopped|Warning|"
                        r"Interrupt|Exit|Erased|NotValid))(?:: (.*))?")  # fmt: skip
# Foreign exceptions whose message is about the machinery alone.
_MACHINERY = {
    "ModuleNotFoundError": re.compile(r"No module named '[\w.]+'"),
    "ImportError": re.compile(r"cannot import name '\w+' from '[\w.]+'"),
    "OSError": re.compile(r"\[Errno \d+\] [A-Za-z -]+"),
    "PermissionError": re.compile(r"\[Errno \d+\] [A-Za-z -]+"),
    "ConnectionError": re.compile(r"HTTPS?ConnectionPool\(host='[\w.-]+', port=\d+\)"),
    "EndpointConnectionError": re.compile(r'Could not connect to the endpoint URL: "https?://[\w.:-]+'),
    "ConnectTimeoutError": re.compile(r'Connect timeout on endpoint URL: "https?://[\w.:-]+'),
    "ClientError": re.compile(r"An error occurred \(\w+\)"),
}
_MACHINERY["ConnectTimeout"] = _MACHINERY["MaxRetryError"] = _MACHINERY["ConnectionError"]
OURS = "domainlm."
_PACKAGES = ("domainlm", "steps", "pipelines", "materializers", "zenml", "cli")
_STOPPED = ("RunStoppedException", "RunInterruptedException")  # of ZenML: another step failed, or somebody stopped it
LOGS_A_LOOK, TRIES = 4, 2  # bounds of what is read beside a look: of pods, and of one pod's log


class Shown(NamedTuple):
    """A log for people.

    Args:
        lines: those that may be shown.
        withheld: how many may not.
    """

    lines: list[str]
    withheld: int


def shown(text: str) -> Shown:
    """Sort a log's lines."""
    lines: list[str] = []
    withheld, in_frame, ours = 0, False, False
    for raw in _COLOUR.sub("", text).splitlines():
        line = raw.rstrip()
        if not line or (in_frame and line.startswith("    ")):
            continue  # the source line of a frame: the frame says where to read it
        if in_frame := bool(_FRAME.fullmatch(line)):
            lines.append(line)
        elif found := _EXCEPTION.fullmatch(line):
            ours = found[1].startswith(OURS)
            lines.append(exception_line(found[1], found[2] or ""))
        elif ours and line.startswith("  -> "):  # the remedy of one of our own errors
            lines.append(line)
        elif any(known.fullmatch(line.strip()) for known in _KNOWN):
            lines.append(line)
            ours = False
        else:
            withheld += 1
    return Shown(lines, withheld)


def exception_line(kind: str, message: str) -> str:
    """An exception in a line, with as much of its message as cannot quote data.

    Args:
        kind: its class, with the module where that is known.
        message: what it says.
    """
    if not message:
        return kind
    if kind.startswith(OURS):
        return f"{kind}: {message}"
    allowed = _MACHINERY.get(kind.rpartition(".")[2])
    if allowed and (said := allowed.match(message)):
        return f"{kind}: {said[0]}" + ('"' if said[0].count('"') % 2 else "")
    return f"{kind}: its message is withheld, since it may quote data"


def reason_of(text: str, image: str) -> Reason | None:
    """Why a process ended that came to no step, by the last exception in its log; None where the log names none,
    or only that ZenML ended the process.

    Args:
        text: the log.
        image: the image that it ran, for the sentence.
    """
    for line in reversed(_COLOUR.sub("", text).splitlines()):
        found = _EXCEPTION.fullmatch(line.rstrip())
        if not found:
            continue
        kind, message = found[1].rpartition(".")[2], found[2] or ""
        if kind in _STOPPED:
            return None
        if missing := re.match(r"No module named '([\w.]+)'|cannot import name '(\w+)' from '([\w.]+)'", message):
            module = missing[1] or f"{missing[3]}.{missing[2]}"
            whose = "of the project's own code" if module.split(".")[0] in _PACKAGES else "that the project needs"
            return Reason(LACKS_PACKAGE, f"the image {image} has no '{module}', {whose}",
                          "client and image differ: set DOMAINLM_IMAGE to an image of this very version")  # fmt: skip
        if host := re.match(r"HTTPS?ConnectionPool\(host='([\w.-]+)', port=(\d+)\)", message):
            return Reason("Unreachable", f"from the pod {host[1]}:{host[2]} cannot be reached",
                          "name an address that pods reach, and see the network policies")  # fmt: skip
        if url := re.search(r'endpoint URL: "(https?://[\w.:-]+)', message):
            return Reason("Unreachable", f"from the pod the store {url[1]} cannot be reached",
                          "let DOMAINLM_S3_URL be an address that pods reach; see the network policies")  # fmt: skip
        if kind == "ClientError" and (refused := re.match(r"An error occurred \((\w+)\)", message)):
            return Reason(
                "StoreRefused", f"the store refuses: {refused[1]}", "see the secret domainlm-store and the bucket"
            )
        if kind in ("CredentialsNotValid", "AuthorizationException"):
            return Reason("ServerRefused", "the ZenML server does not take the pod's token",
                          "start the run again; if it stays so, see the server's clock and key")  # fmt: skip
        return Reason(EXCEPTION, exception_line(found[1], message), "")
    return None


class LastWords:
    """What pods said last that ended with a bare exit code, read while they are there: ZenML's orchestrator deletes the
    pods of a run that fails fast, and of a process that came to no step nobody else knows why it ended. Only the reason
    is kept, never the log.

    Args:
        read: gives a pod's log by its name; empty where it cannot be read.
    """

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._tries: dict[str, int] = {}  # {id of a pod: how often its log was asked for}

    def of(self, look: Seen) -> dict[str, Reason]:
        """{id of a pod: why it ended}, of those that were not read before; the newest first, a bounded number a look.

        An API server that gives no log is asked for no other one at this look, so that a look stays short.
        """
        found: dict[str, Reason] = {}
        new = [pod for pod in look.pods if self._tries.get(uid_of(pod), 0) < TRIES and _ended_vaguely(pod)]
        new.sort(key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
        for pod in new[:LOGS_A_LOOK]:
            uid = uid_of(pod)
            self._tries[uid] = self._tries.get(uid, 0) + 1
            if not (text := self._read(name_of(pod))):
                break
            self._tries[uid] = TRIES
            image = next(one["image"] for one in pod["spec"]["containers"] if one["name"] == MAIN)
            if said := reason_of(text, image):
                found[uid] = said._replace(pod=name_of(pod))
        return found


def _ended_vaguely(pod: Object) -> bool:
    why = reasons.of_pod(pod, Keys(ORCHESTRATOR)) if phase_of(pod) == "Failed" else None
    return why is not None and why.code in VAGUE
