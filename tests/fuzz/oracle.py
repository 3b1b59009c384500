"""What may happen to a file that somebody else wrote, and what may not.

A file is accepted, with an answer that its call's own check finds plausible; or it is refused by one of mfedge's
errors, in one printable line, with an exit code that is meant for such a file; or a library that mfedge has announced
(`mfedge.workers.foreign`) dies of it, which a command's worker survives. All else is a finding.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Collection

from mfedge import text
from mfedge.errors import Exit, FaultError, MfedgeError
from mfedge.workers.foreign import OUT_OF_MEMORY
from tests.fuzz.case import Call, Came

OWN_READERS = ("mfedge",)  # how the names of announced libraries begin that are mfedge itself
KERNELS = re.compile(r"libmfedge_\w+\.so\S*")
FRAME = re.compile(r'File "(\S*?)", line (\d+),? in (\S+)')


def run(call: Call) -> Came:
    """Call it, and judge what comes of it."""
    try:
        value = call.function()
        complaint = call.check(value)
    except MfedgeError as error:
        return refusal(call, error)
    except BaseException as error:
        detail = "".join(traceback.format_exception(error))[-6000:]
        return finding(call.name, f"{type(error).__name__}: {error}"[:300], detail, type(error).__name__)
    if complaint:
        return finding(call.name, f"accepted, and {complaint}"[:300], repr(value)[:2000], complaint[:40])
    return Came(call.name, "accepted")


def refusal(call: Call, error: MfedgeError) -> Came:
    """Whether an error may end a command."""
    message = str(error)
    detail = "".join(traceback.format_exception(error))[-6000:]
    complaint = ""
    if isinstance(error, FaultError):
        complaint = "a fault of mfedge's own"
    elif Exit.of(error.exit_code) not in call.allowed:
        complaint = f"exit code {int(error.exit_code)} ({type(error).__name__})"
    elif not message.isprintable():
        complaint = "an error that is not one printable line"
    elif not 10 <= len(message) <= text.LINE:
        complaint = f"an error of {len(message)} characters"
    elif "Traceback" in message:
        complaint = "a traceback in an error"
    if complaint:
        return finding(call.name, f"{complaint}: {message}"[:600], detail, complaint[:30])
    return Came(call.name, "refused", message, int(error.exit_code))


def death(call: str, status: int, opened: Collection[str], frames: str, stack: str, said: str) -> Came:
    """Whether a process may have died.

    Args:
        call: that it died in.
        status: as `os.waitstatus_to_exitcode` gives it.
        opened: libraries that were announced, the last one last.
        frames: native ones, innermost first.
        stack: of Python, innermost first.
        said: what it wrote to standard error.
    """
    name = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    library = list(opened)[-1] if opened else ""
    message = f"{library or 'mfedge'} died: {name}"
    detail = f"{frames}\n{stack}\n{said[-1500:]}"
    innermost = FRAME.search(stack)
    where = f"{innermost[1]}:{innermost[3]}" if innermost else ""
    hung = status == -signal.SIGXCPU
    if KERNELS.search(frames):
        inside = next(line for line in frames.splitlines() if KERNELS.search(line))
        return finding(call, f"{message} in mfedge's kernels", detail, inside.rpartition("/")[2][:80])
    if status >= 0:
        return finding(call, message, detail, name)
    if not library or library.startswith(OWN_READERS):
        return finding(call, f"{message}, with no library open", detail, f"{name} {where}")
    if hung and "/mfedge/" in where:
        return finding(call, f"{message}: a loop of mfedge's own", detail, f"{name} {where}")
    if not hung and any(sign in said.lower() for sign in OUT_OF_MEMORY):
        message += ", refused memory"
    return Came(call, "died", message)


def finding(call: str, message: str, detail: str, what: str) -> Came:
    """A finding; its signature is what it is, and the innermost line of mfedge that was on the way to it."""
    own = [match for match in FRAME.finditer(detail) if "/mfedge/" in match[1] and "/tests/" not in match[1]]
    where = f" {own[-1][1].rpartition('/mfedge/')[2]}:{own[-1][2]}" if own else ""
    return Came(call, "finding", message, detail=detail, signature=f"{call}: {what}{where}")
