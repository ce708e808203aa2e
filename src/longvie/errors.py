"""The tree of our errors. Each knows its stable code, its exit code and its HTTP status.

LongVieError                     5 / 500   something of ours went wrong
├── InputError                   2 / 422   what came cannot be used; says what was needed
│   ├── ConfigError              2 / 422   an option or a field
│   ├── ScriptError              2 / 422   a prompt, a timeline, a keyframe
│   ├── ShapeError               2 / 422   sizes that do not fit together
│   ├── MediaError               2 / 422   a picture, video or array that cannot be read
│   ├── ControlError             2 / 422   a control that the signal or the model does not allow
│   └── WeightsError             2 / 422   a checkpoint that is not what it should be
├── LimitError                   3 / 413   more than we accept, refused before it is allocated
├── ResourceError                4 / 503   disk, memory, device, a missing extra
│   └── RunLocked                4 / 409   another process owns the run
└── Interrupted                  130       the user asked to stop
"""


class LongVieError(Exception):
    """Root of everything that we raise on purpose.

    Args:
        message: what came, what was needed, what to do. One sentence, no traceback, no decoder text.
        code: a stable name in snake case for programs; the class has a default.
    """

    exit_code = 5
    status = 500
    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(LongVieError):
    """What came cannot be used."""

    exit_code, status, code = 2, 422, "input_invalid"


class ConfigError(InputError):
    """An option or a field is unknown, of the wrong type or out of range."""

    code = "config_invalid"


class ScriptError(InputError):
    """A prompt, timeline or keyframe cannot be followed."""

    code = "script_invalid"


class ShapeError(InputError):
    """Sizes that do not fit together."""

    code = "shape_invalid"


class MediaError(InputError):
    """A picture, video or array that cannot be read."""

    code = "media_unreadable"


class ControlError(InputError):
    """A control that the signal or the chosen model does not allow."""

    code = "control_invalid"


class WeightsError(InputError):
    """A checkpoint that is not what it should be."""

    code = "weights_invalid"


class LimitError(LongVieError):
    """More than we accept; refused before anything of that size is allocated."""

    exit_code, status, code = 3, 413, "limit_exceeded"


class ResourceError(LongVieError):
    """Disk, memory, device or an extra that is not installed."""

    exit_code, status, code = 4, 503, "resource_missing"


class RunLocked(ResourceError):  # noqa: N818 - named for what happened
    """Another process is working on the same run."""

    status, code = 409, "run_locked"


class Interrupted(LongVieError):  # noqa: N818 - nothing went wrong
    """The user asked to stop; what was finished is kept."""

    exit_code, status, code = 130, 499, "interrupted"
