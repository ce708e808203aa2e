"""The command line: every verb once, what it prints, and its exit code. Bad input is in tests/reliability."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longvie import catalogue, cli
from longvie.data.export import Export, export
from longvie.errors import LongVieError
from longvie.evaluation import obedience
from longvie.evaluation.instruments import train as instruments
from longvie.media import iter_video, probe_video, read_picture
from longvie.runs import Run
from longvie.training import world

VALLEY = Path(__file__).parent / "data" / "valley"


@pytest.fixture
def longvie(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """`longvie …`: exit code, what it printed, what it said beside."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    export(Export(seed=7, frames=33, size=(32, 48), points=40), folder)
    return folder


GENERATE = ("generate", "--model", "tiny", "--prompt", "a red ball", "--quiet")


def test_help_names_every_verb(longvie: object) -> None:
    code, out, _ = longvie("--help")
    assert code == 0
    for verb in ("generate", "train", "world", "models", "control", "runs", "bench", "doctor", "version"):
        assert verb in out


def test_generate_with_everything(longvie: object, scene: Path, tmp_path: Path) -> None:
    code, out, err = longvie(
        *GENERATE, "--image", scene / "first.png", "--depth", scene / "depth.npz", "--tracks", scene / "tracks.npz",
        "--sketch", scene / "sketch.mp4", "--segmentation", scene / "segmentation.npz", "--beats", scene / "beats.json",
        "--prompts", scene / "prompts.json", "--depth-strength", "0.5", "--seed", "3", "--steps", "1",
        "--guidance", "2",
        "--size", "96x64", "--fps", "8", "--frames-dir", "pictures", "--out", "a.mp4", "--set", "engine.recent=2",
        "--threads", "1", "--device", "cpu", "--deterministic",
    )  # fmt: skip
    assert code == 0, err
    assert "17 frames of 96x64 at 8 frames/s, seed 3" in out
    info = probe_video(tmp_path / "a.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (17, 64, 96, 8.0)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 17
    assert read_picture(pictures[0]).shape == (64, 96, 3)
    facts = Run.open(tmp_path / "a.run").facts["request"]
    assert [control["name"] for control in facts["script"]["controls"]] == ["depth", "tracks", "sketch", "segmentation"]
    assert facts["script"]["controls"][0]["strength"] == 0.5
    assert (facts["engine"]["steps"], facts["engine"]["recent"], facts["engine"]["guidance"]) == (1, 2, 2.0)


def test_the_same_command_again_does_nothing_and_another_needs_force(longvie: object, tmp_path: Path) -> None:
    assert longvie(*GENERATE, "--frames", "9", "--out", "a.mp4")[0] == 0
    before = (tmp_path / "a.mp4").read_bytes()
    code, out, _ = longvie(*GENERATE, "--frames", "9", "--out", "a.mp4")
    assert code == 0
    assert "finished already" in out
    code, _, err = longvie(*GENERATE, "--frames", "13", "--out", "a.mp4")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert longvie(*GENERATE, "--frames", "13", "--out", "a.mp4", "--force")[0] == 0
    assert probe_video(tmp_path / "a.mp4").frames == 13


def test_options_over_a_file_over_a_preset(longvie: object, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model: {ckpt: tiny, duration: 60, fps: 8}\nseed: 4\nprompt: a red ball\noutput: {save_video: named.mp4}\n"
    )
    code, out, err = longvie("generate", "--config", "c.yaml", "--frames", "9", "--set", "seed=5", "--quiet")
    assert code == 0, err
    assert "named.mp4: 5 frames of 48x32 at 8 frames/s, seed 5" in out
    assert probe_video(tmp_path / "named.mp4").fps == 8.0


def test_only_frames(longvie: object, tmp_path: Path) -> None:
    code, _, err = longvie(*GENERATE, "--frames", "5", "--set", "output.save_video=false", "--frames-dir", "f")
    assert code == 0, err
    assert len(list((tmp_path / "f").iterdir())) == 5
    assert not (tmp_path / "video.mp4").exists()
    assert longvie(*GENERATE, "--set", "output.save_video=false")[0] == 2


def test_stochastic_sampling_is_another_video_of_the_same_seed(longvie: object, tmp_path: Path) -> None:
    for name in ("--deterministic", "--stochastic"):
        assert longvie(*GENERATE, "--frames", "9", name, "--out", f"{name[2:]}.mp4")[0] == 0
    one, two = ((tmp_path / f"{name}.mp4").read_bytes() for name in ("deterministic", "stochastic"))
    assert one != two


@pytest.mark.parametrize("seam", ["latent", "pixel"])
def test_both_seams_make_exactly_the_frames_asked_for(longvie: object, scene: Path, tmp_path: Path, seam: str) -> None:
    given = ("--frames", "100", "--seam", seam, "--image", scene / "first.png", "--out", "a.mp4")
    code, _, err = longvie(*GENERATE, *given)
    assert code == 0, err
    assert probe_video(tmp_path / "a.mp4").frames == 100


def test_conditions_give_one_clip_per_entry(longvie: object, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(Export(seed=7, frames=81, size=(32, 48), points=20), tmp_path / name)
        code, _, err = longvie(
            "control", "render", "depth", f"{name}/depth.npz", "--size", "48x32", "--out", f"{name}.mp4", "--quiet"
        )
        assert code == 0, err
    entries = [{"text": f"a ball {name}", "depth": f"{name}.mp4"} for name in ("a", "b")]
    (tmp_path / "cond.json").write_text(json.dumps(entries))
    code, _, err = longvie(
        "generate",
        "--model",
        "tiny",
        "--conditions",
        "cond.json",
        "--image",
        "a/first.png",
        "--out",
        "v.mp4",
        "--quiet",
    )
    assert code == 0, err
    assert probe_video(tmp_path / "v.mp4").frames == 161


def test_world_render_writes_a_scene(longvie: object, tmp_path: Path) -> None:
    arguments = ("world", "render", "--seed", "7", "--duration", "0.5", "--size", "48x32", "--out", "scene", "--quiet")
    code, out, err = longvie(*arguments)
    assert code == 0, err
    assert "8 frames" in out
    for name in ("truth.mp4", "depth.npz", "tracks.npz", "first.png", "scene.json"):
        assert name in out
        assert (tmp_path / "scene" / name).is_file()
    assert longvie(*arguments)[0] == 0
    assert longvie(*arguments, "--split", "train")[0] == 2


@pytest.mark.parametrize("name", ["depth", "tracks", "segmentation"])
def test_control_render_draws_what_the_model_sees(longvie: object, scene: Path, tmp_path: Path, name: str) -> None:
    arguments = ("control", "render", name, scene / f"{name}.npz", "--size", "48x32", "--out", "c.mp4", "--quiet")
    code, out, err = longvie(*arguments)
    assert code == 0, err
    assert f"{name}: " in out
    assert probe_video(tmp_path / "c.mp4").frames == 33
    assert next(iter_video(tmp_path / "c.mp4")).std() > 5
    code, _, err = longvie(*arguments)
    assert code == 2
    assert "--force" in err


def test_a_drawn_depth_is_read_back_as_drawn(longvie: object, scene: Path) -> None:
    given = (scene / "depth.npz", "--size", "48x32", "--quiet")
    assert longvie("control", "render", "depth", *given, "--out", "d.mp4")[0] == 0
    code, _, err = longvie(*GENERATE, "--frames", "33", "--depth", "d.mp4", "--out", "v.mp4")
    assert code == 0, err


def test_unknown_controls_name_the_nearest(longvie: object, scene: Path) -> None:
    code, _, err = longvie("control", "render", "dept", scene / "depth.npz", "--out", "c.mp4")
    assert code == 2
    assert "did you mean 'depth'" in err


def test_models_list_and_show(longvie: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path / "nothing")
    code, out, _ = longvie("models", "list")
    assert code == 0
    assert all(name in out for name in catalogue.NAMES)
    assert "random weights" in out
    code, out, _ = longvie("models", "show", "tiny")
    assert code == 0
    assert json.loads(out)["random"] is True
    code, _, err = longvie("models", "show", "world")
    assert code == 2
    assert "holds no weights" in err


def test_runs_are_listed_shown_verified_and_found_damaged(longvie: object, tmp_path: Path) -> None:
    assert longvie(*GENERATE, "--frames", "9", "--out", "a.mp4")[0] == 0
    code, out, _ = longvie("runs", "list")
    assert code == 0
    assert "finished" in out
    assert "9/9" in out
    code, out, _ = longvie("runs", "show", "a.run")
    assert code == 0
    assert json.loads(out)["request"]["script"]["frames"] == 9
    assert longvie("runs", "verify", "a.run")[0] == 0
    (tmp_path / "a.run" / "final.mp4").write_bytes(b"other")
    code, _, err = longvie("runs", "verify", "a.run")
    assert code == 2
    assert "final.mp4" in err
    assert longvie("runs", "show", "nothing.run")[0] == 2


def test_a_run_is_taken_up_again_from_anywhere(
    longvie: object, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*GENERATE, "--frames", "33", "--depth", "depth.npz", "--set", "engine.clip=2", "--set", "engine.recent=1")
    (tmp_path / "depth.npz").write_bytes((scene / "depth.npz").read_bytes())
    assert longvie(*given, "--out", "whole.mp4")[0] == 0
    whole = (tmp_path / "whole.mp4").read_bytes()

    def broken(self: object, out: Path, *, force: bool = False) -> None:  # noqa: ARG001
        raise LongVieError("the power went")

    with monkeypatch.context() as crash:
        crash.setattr(Run, "_join", lambda self: broken(self, Path()))
        assert longvie(*given, "--out", "torn.mp4")[0] == 5
    last = Run.open(tmp_path / "torn.run").parts()[-1]
    Run.open(tmp_path / "torn.run").state(last["part"]).unlink()  # the last clip is lost
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, err = longvie("runs", "resume", tmp_path / "torn.run", "--quiet")
    assert code == 0, err
    assert "went on from frame" in out
    assert (tmp_path / "torn.mp4").read_bytes() == whole


LIVE = (*GENERATE, "--engine", "live", "--steps", "1", "--frames", "33")


def test_a_live_run_is_played_again_and_left_at_a_block(longvie: object, scene: Path, tmp_path: Path) -> None:
    code, _, err = longvie(*LIVE, "--depth", scene / "depth.npz", "--out", "a.mp4")
    assert code == 0, err
    assert Run.open(tmp_path / "a.run").facts["request"]["engine"]["kind"] == "live"
    code, _, err = longvie("runs", "branch", "a.run", "--at", "0.8", "--say", "a storm", "--strength", "depth=0",
                             "--out", "b.mp4")  # fmt: skip
    assert code == 0 and "shares 21 frames with a.run" in err, err
    events = [event for event in Run.open(tmp_path / "b.run").journal.events() if event["event"] == "steered"]
    assert [(event["change"], event["frame"]) for event in events] == [("words", 21), ("strength", 21)]
    for name in ("a", "b"):
        code, _, err = longvie("runs", "replay", f"{name}.run", "--out", f"{name}2.mp4")
        assert code == 0 and "\nthe same bytes as before" in err, err
        assert (tmp_path / f"{name}2.mp4").read_bytes() == (tmp_path / f"{name}.mp4").read_bytes()
    frames = {name: list(iter_video(tmp_path / f"{name}.mp4")) for name in ("a", "b")}
    assert (frames["a"][0] == frames["b"][0]).all()
    assert (
        "finished already" in longvie("runs", "branch", "a.run", "--at", "0.8", "--say", "a storm", "--out", "b.mp4")[1]
    )


def test_a_branch_in_which_the_camera_moves(longvie: object, scene: Path, tmp_path: Path) -> None:
    assert longvie(*LIVE, "--depth", scene / "depth.npz", "--out", "a.mp4")[0] == 0
    code, _, err = longvie("runs", "branch", "a.run", "--at", "0.8", "--camera", "pan=10,forward=0.1", "--out", "b.mp4")
    assert code == 0, err
    event = next(it for it in Run.open(tmp_path / "b.run").journal.events() if it["event"] == "steered")
    assert (event["change"], event["frame"], event["pan"], event["forward"]) == ("camera", 21, 10, 0.1)
    assert "\nthe same bytes" in longvie("runs", "replay", "b.run", "--out", "b2.mp4")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "0"), "leaves after the first frame"),
        (("--at", "900"), "leave it earlier"),
        (("--at", "1", "--strength", "depth"), "write --strength depth=0.5"),
        (("--at", "1", "--strength", "smell=1"), "no control 'smell'"),
        (("--at", "1", "--camera", "pan=fast"), "the camera's pan is 'fast'; write pan=0.2"),
        (("--at", "1", "--camera", "spin=3"), "the camera has no 'spin'; it knows pan, tilt"),
        (("--at", "1", "--camera", "pan=400"), "use -90 to 90"),
        (("--at", "1", "--camera", "forward=0.1"), "give a depth, or only turn it"),
        (("--at", "1", "--drag", "3,4,5"), "write --drag 88,60,20,-5"),
        (("--at", "1", "--drag", "3,4,5,6"), "nothing that could be dragged"),
    ],
)
def test_a_branch_that_cannot_be_is_refused(longvie: object, arguments: tuple[str, ...], said: str) -> None:
    longvie(*LIVE, "--out", "a.mp4")
    code, _, err = longvie("runs", "branch", "a.run", *arguments, "--say", "a storm", "--out", "b.mp4")
    assert code == 2 and said in err


def test_a_run_of_clips_hears_no_changes_but_takes_another_seed(longvie: object, tmp_path: Path) -> None:
    assert longvie(*GENERATE, "--frames", "170", "--steps", "1", "--out", "a.mp4")[0] == 0
    code, _, err = longvie("runs", "branch", "a.run", "--at", "6", "--say", "a storm", "--out", "b.mp4")
    assert code == 2 and "steer with engine.kind=live" in err
    code, _, err = longvie("runs", "branch", "a.run", "--at", "5", "--seed", "8", "--out", "b.mp4")
    assert code == 0 and "shares 81 frames" in err, err
    assert Run.open(tmp_path / "b.run").facts["request"]["script"]["seed"] == 8


def test_an_engine_that_weights_are_not_for_is_refused(longvie: object) -> None:
    code, _, err = longvie("generate", "--model", "longlive-1.3b", "--engine", "clip", "--prompt", "a red ball")
    assert code == 2 and "longlive-1.3b has no weights for the clip engine" in err
    code, _, err = longvie(*GENERATE, "--engine", "live", "--seam", "pixel")
    assert code == 2 and "seam is no option of the live engine" in err


def test_train_hands_its_plan_on(longvie: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(world, "train", lambda *given, **named: asked.append((given, named)))
    given = (
        "--stage",
        "base",
        "--out",
        "here",
        "--clips",
        "3",
        "--steps",
        "2",
        "--minutes",
        "base=3, match=4.5",
        "--without",
        "damage,history",
        "--seed",
        "4",
    )
    code, out, err = longvie("train", "world", *given)
    assert code == 0, err
    ((folder, stage, plan), named) = asked[0]
    assert (folder, stage, named["device"]) == (Path("here"), "base", "cpu")
    assert (plan.clips, plan.steps, plan.seed) == (3, 2, 4)
    asked_for, planned = ({name: pace.minutes for name, pace in it.items()} for it in (plan.paces, world.PACES))
    assert asked_for == planned | {"base": 3.0, "match": 4.5}
    assert plan.without == {"damage", "history"}
    assert "here/world" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("wrld",), ("world", "--stage", "bse"), ("world", "--minutes", "1,2"), ("world", "--minutes", "base=nan"),
        ("world", "--minutes", "bass=3"), ("world", "--minutes", "base="), ("world", "--minutes", "base=3,"),
        ("world", "--without", "histry"),
        ("world", "--clips", "0"), ("world", "--steps", "0"), ("world", "--seed", "-1"), ("world", "--device", "gpu"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_train_refuses_what_it_cannot_do(longvie: object, arguments: tuple[str, ...]) -> None:
    code, _, err = longvie("train", *arguments, "--out", "here")
    assert code == 2
    assert err.startswith("error: ")


def test_train_instruments_hands_its_minutes_on(longvie: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(instruments, "train_instruments", lambda *given, **_: asked.append(given))
    code, out, err = longvie("train", "instruments", "--out", "here", "--minutes", "2.5", "--seed", "4")
    assert code == 0, err
    assert asked == [(Path("here"), 2.5, 4)]
    assert "here/instruments" in out
    code, _, err = longvie("train", "instruments", "--minutes", "1,2")
    assert code == 2 and "one number" in err


def test_doctor_tells_what_matters(longvie: object) -> None:
    code, out, _ = longvie("doctor")
    assert code == 0
    for fact in ("python", "cores", "memory_gib", "torch", "dtype", "model world"):
        assert fact in out


def test_bench_speed_gives_three_rates_in_order(longvie: object) -> None:
    code, out, err = longvie("bench", "speed", "--model", "tiny", "--duration", "1", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["network_frames_per_s"] > facts["with_decode_frames_per_s"] > facts["to_the_file_frames_per_s"] > 0
    assert facts["frames"] == 16


def test_bench_steer_tells_how_long_a_wish_waits(longvie: object) -> None:
    code, out, err = longvie("bench", "steer", "--model", "tiny", "--duration", "5", "--wishes", "4", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["wishes"] == 4 and facts["stalled_s"] < 1
    assert facts["block_median_s"] < facts["wait_median_s"] + 0.75
    assert 0 < facts["wait_median_s"] <= facts["wait_95_s"] <= facts["wait_longest_s"] < 3


def test_bench_controls_compares_with_the_frozen_first_frame(longvie: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obedience, "GIVEN", {"depth": ("depth",), "no controls": ()})
    score = obedience.Score(0.5, 20.0, 0.9)
    rows = [(number, name, score) for number in (3, 5) for name in ("frozen", "depth", "no controls")]
    monkeypatch.setattr(obedience, "measure", lambda *_, **__: iter(rows))
    code, out, err = longvie("bench", "controls", "--model", "tiny", "--scenes", "2", "--json")
    assert code == 0, err
    assert json.loads(out)["frozen"]["scenes"] == 2
    code, out, _ = longvie("bench", "controls", "--model", "tiny", "--scenes", "2")
    assert code == 0
    assert "no controls" in out


def test_a_fault_of_ours_is_one_line_too(longvie: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("x\ny")

    monkeypatch.setattr(catalogue, "card_of", fails)
    code, _, err = longvie("models", "show", "tiny")
    assert code == 5
    assert err.count("\n") == 1
    assert "Traceback" not in err
    code, _, err = longvie("models", "show", "tiny", "--traceback")
    assert code == 5
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError(), 4), (OSError(28, "No space left"), 4), (KeyboardInterrupt(), 130)]
)
def test_what_the_machine_refuses_has_a_code_of_its_own(
    longvie: object, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(catalogue, "card_of", fails)
    assert longvie("models", "show", "tiny")[0] == code


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupted_once_it_keeps_what_is_finished_and_goes_on_later(tmp_path: Path) -> None:
    """A process of its own, stopped by SIGINT in its midst; the same command ends it."""
    command = [
        sys.executable, "-m", "longvie", "generate", "--model", "tiny", "--prompt", "a red ball", "--out", "a.mp4",
        "--frames", "4001", "--steps", "8", "--threads", "1",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 120
    while not list((tmp_path / "a.run" / "video").glob("00[2-9].mp4")):
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    parts = len(Run.open(tmp_path / "a.run").parts())
    assert parts >= 2
    assert not (tmp_path / "a.mp4").exists()
    assert Run.open(tmp_path / "a.run").summary().status == "interrupted"
