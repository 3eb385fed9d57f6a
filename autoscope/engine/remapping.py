"""``python -m autoscope.engine.remapping RUN STEP FILE``: the model's maps before an act of the past.

The policy is made anew, asked and told everything again up to that act, as for a replay, and its maps are written to a
file. A process of its own, since it may take long and needs what the dashboard does without.
"""

from __future__ import annotations

import sys
from pathlib import Path

from autoscope.config import Document
from autoscope.engine.assemble import make_policy, resolve
from autoscope.engine.history import read_history
from autoscope.engine.preparing import decider
from autoscope.engine.rebuilding import Stored
from autoscope.engine.walking import Said, walk
from autoscope.errors import AutoscopeError, DataError
from autoscope.journal import JournalReader
from autoscope.model_maps import ModelMaps
from autoscope.protocols import Pictorial, Policy


def maps_before(folder: Path, step: int) -> ModelMaps:
    """Return what the policy of a run thought when it was asked for a step.

    Raises
    ------
    DataError
        Its policy draws no maps, had no model then, or was not asked for that step.
    JournalError
        The run cannot be walked again.
    """
    import yaml

    reader = JournalReader.open(folder)
    history = read_history(reader)
    resolved = resolve(Document(yaml.safe_dump(history.config), str(reader)))
    policy: Policy = make_policy(resolved)
    within = decider(policy)
    painter = within if isinstance(within, Pictorial) else None
    if painter is None:
        raise DataError(f"the policy {resolved.policy.name} draws no maps", remedy="Those with a model of a field do")
    for event in walk(history, policy, Stored(reader)):
        if isinstance(event, Said) and event.past.intent.step >= step:
            break
    else:
        raise DataError("the policy was not asked for an act so late", value=step)
    if (maps := painter.maps()) is None:
        raise DataError("there was no model yet before this act", value=step)
    return maps


def main() -> int:
    """Write the maps; 1 and the reason on standard error where there are none."""
    folder, step, file = sys.argv[1:]
    try:
        content = maps_before(Path(folder), int(step)).encoded()
    except AutoscopeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    Path(file).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
