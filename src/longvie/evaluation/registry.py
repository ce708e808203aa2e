"""All metrics there are, by name and by suite."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from longvie.errors import ConfigError
from longvie.evaluation import families
from longvie.evaluation.metric import Family, Metric

QUICK = ("similarity", "temporal", "drift", "seam")  # what needs the pictures alone: many frames a second
SUITES = {"quick": QUICK, "all": None}


def all_families() -> tuple[Family, ...]:
    """One for each file under `evaluation/families`, in the order of their names."""
    names = sorted(module.name for module in iter_modules(families.__path__))
    return tuple(import_module(f"{families.__name__}.{name}").FAMILY for name in names)


def suite(name: str) -> tuple[Family, ...]:
    """The families of a suite.

    Raises:
        ConfigError: no such suite.
    """
    if name not in SUITES:
        raise ConfigError(f"no suite {name[:60]!r}; there are {', '.join(SUITES)}")
    wanted = SUITES[name]
    return tuple(family for family in all_families() if wanted is None or family.name in wanted)


def own() -> tuple[str, ...]:
    """Names of the families that have something to say without weights of others."""
    return tuple(family.name for family in all_families() if any(it.tier != "W2" for it in family.metrics))


def metrics(known: Iterable[Family] | None = None) -> dict[str, Metric]:
    """Every metric by its name.

    Raises:
        ConfigError: two have the same name.
    """
    found: dict[str, Metric] = {}
    for family in all_families() if known is None else known:
        for metric in family.metrics:
            if metric.name in found:
                raise ConfigError(f"two metrics are called {metric.name}")
            found[metric.name] = metric
    return found


def find(name: str) -> Metric:
    """One metric.

    Raises:
        ConfigError: no such metric; says which is nearest.
    """
    known = metrics()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise ConfigError(f"no metric {name[:60]!r}; " + (f"did you mean {near[0]!r}?" if near else "see the list"))
    return known[name]
