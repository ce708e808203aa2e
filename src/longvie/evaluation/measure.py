"""One pass over a video: every family sees every moment, then all say their values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from longvie.errors import InputError
from longvie.evaluation.metric import Facts, Family, Found, Metric, Moment, Probe, Refused


def measure(facts: Facts, moments: Iterable[Moment], families: Sequence[Family]) -> dict[str, Found | Refused]:
    """The values of all metrics of the families, in their order.

    A metric whose needs are not known is refused; so is one whose family fails on what it sees, with the reason.

    Raises:
        InputError: fewer or more moments came than the facts say, or a family does not keep its promise.
    """
    probes: dict[str, Probe] = {}
    refused: dict[str, Refused] = {}
    values: dict[str, Mapping[str, Found | Refused]] = {}
    for family in families:
        if any(not facts.missing(metric) for metric in family.metrics):
            with _refusing(refused, family.name):
                probes[family.name] = family.open(facts)
    count = 0
    for moment in moments:
        count += 1
        for name in [name for name in probes if name not in refused]:
            with _refusing(refused, name):
                probes[name].see(moment)
    if count != facts.frames:
        raise InputError(f"{count} frames came, {facts.frames} were announced")
    for name in [name for name in probes if name not in refused]:
        with _refusing(refused, name):
            values[name] = probes[name].values()
    return {
        metric.name: _value(family, metric, facts, values, refused) for family in families for metric in family.metrics
    }


@contextmanager
def _refusing(refused: dict[str, Refused], name: str) -> Iterator[None]:
    """What a family cannot use refuses it alone."""
    try:
        yield
    except InputError as reason:
        refused[name] = Refused(str(reason))


def _value(
    family: Family,
    metric: Metric,
    facts: Facts,
    values: Mapping[str, Mapping[str, Found | Refused]],
    refused: Mapping[str, Refused],
) -> Found | Refused:
    missing = facts.missing(metric)
    if missing:
        return Refused(f"needs {', '.join(missing)}")
    if family.name in refused:
        return refused[family.name]
    found = values[family.name].get(metric.name)
    if found is None:
        raise InputError(f"the family {family.name} gave no value of {metric.name}")
    return found
