"""One pass over a video: every family sees every moment, then all say their values."""

from collections.abc import Iterable, Sequence

from longvie.errors import InputError
from longvie.evaluation.metric import Facts, Family, Found, Moment, Refused


def measure(facts: Facts, moments: Iterable[Moment], families: Sequence[Family]) -> dict[str, Found | Refused]:
    """The values of all metrics of the families, in their order.

    A metric whose needs are not known is refused; so is one whose family fails on what it sees, with the reason.

    Raises:
        InputError: fewer or more moments came than the facts say, or a family does not keep its promise.
    """
    probes, refused = {}, {}
    for family in families:
        possible = [metric for metric in family.metrics if not facts.missing(metric)]
        if possible:
            probes[family.name] = family.open(facts)
    count = 0
    for moment in moments:
        count += 1
        for name in [name for name in probes if name not in refused]:
            try:
                probes[name].see(moment)
            except InputError as reason:
                refused[name] = Refused(str(reason))
    if count != facts.frames:
        raise InputError(f"{count} frames came, {facts.frames} were announced")
    found: dict[str, Found | Refused] = {}
    for family in families:
        values = {} if family.name in refused or family.name not in probes else probes[family.name].values()
        for metric in family.metrics:
            missing = facts.missing(metric)
            if missing:
                found[metric.name] = Refused(f"needs {', '.join(missing)}")
            elif family.name in refused:
                found[metric.name] = refused[family.name]
            elif metric.name not in values:
                raise InputError(f"the family {family.name} gave no value of {metric.name}")
            else:
                found[metric.name] = values[metric.name]
    return found
