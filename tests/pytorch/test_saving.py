"""A pruned network comes back from its file bit for bit, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch import (
    PruneResult,
    load_pruned,
    prune,
    reestimate_batch_norm,
    save_pruned,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from tests.pytorch.cuts import largest_difference
from tests.pytorch.networks import SOUND, DeepLab, Residual, randomized
from tests.pytorch.test_extract import assert_untouched, fingerprint

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def result() -> PruneResult:
    """Cut a residual network to 60 % of its MACs."""
    return prune(randomized(Residual), IMAGES, macs=0.6, refit=None)


@pytest.fixture
def file(result: PruneResult, tmp_path: Path) -> Path:
    """Store it."""
    save_pruned(tmp_path / "small.pt", result)
    return tmp_path / "small.pt"


def gap(one: nn.Module, other: nn.Module) -> float:
    """Return the largest difference of two networks' outputs."""
    return largest_difference(
        frozen_outputs(one, IMAGES), frozen_outputs(other, IMAGES)
    )[0]


@pytest.mark.parametrize("name", SOUND)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    """Every kind of coupling: the loaded network gives the same bits."""
    result = prune(randomized(SOUND[name]), IMAGES, macs=0.8)
    save_pruned(tmp_path / "small.pt", result)
    loaded = load_pruned(tmp_path / "small.pt", SOUND[name])
    assert gap(loaded, result.model) == 0


def test_a_fine_tuned_network_is_saved_with_its_plan(
    result: PruneResult, tmp_path: Path
) -> None:
    """The state is that of the network passed, not of the result."""
    tuned = reestimate_batch_norm(result.model, IMAGES)
    save_pruned(tmp_path / "tuned.pt", tuned, result.plan)
    loaded = load_pruned(tmp_path / "tuned.pt", Residual)
    assert gap(loaded, tuned) == 0
    assert gap(loaded, result.model) > 0


def test_an_interrupted_save_leaves_the_old_file(
    result: PruneResult, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file never stands in its place, and none lies beside it."""
    before = file.read_bytes()

    def full_disk(data: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_pruned(file, result)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    save_pruned(file, reestimate_batch_norm(result.model, IMAGES), result.plan)
    assert file.read_bytes() != before
    assert list(file.parent.iterdir()) == [file]


def test_a_network_cut_twice_has_two_plans(result: PruneResult, tmp_path: Path) -> None:
    """Plans are replayed in the order in which they were applied."""
    again = prune(result.model, IMAGES, macs=0.6)
    save_pruned(tmp_path / "twice.pt", again, [result.plan, again.plan])
    assert gap(load_pruned(tmp_path / "twice.pt", Residual), again.model) == 0
    save_pruned(tmp_path / "second.pt", again)
    with pytest.raises(InvalidProblemError, match="more than once"):
        load_pruned(tmp_path / "second.pt", Residual)
    assert gap(load_pruned(tmp_path / "second.pt", result.model), again.model) == 0


def test_a_module_passed_is_not_changed(file: Path, result: PruneResult) -> None:
    """Neither its weights nor its widths; dtype and mode go over to the result."""
    fresh = randomized(Residual, seed=3).double().train()
    before = fingerprint(fresh)
    loaded = load_pruned(file, fresh)
    assert_untouched(fresh, before)
    assert loaded.training
    assert all(p.dtype == torch.float64 for p in loaded.parameters())
    assert gap(loaded.float(), result.model) == 0


def test_the_file_holds_tensors_and_text_only(file: Path) -> None:
    """It is read without pickled code, and the plan in it is that of the JSON file."""
    data = torch.load(file, weights_only=True)
    assert set(data) == {"format", "plans", "state"}
    assert all(isinstance(value, torch.Tensor) for value in data["state"].values())
    assert all(isinstance(text, str) for text in data["plans"])


class NotAModule:
    """Something else that can be called into being."""


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (DeepLab, "which it lacks"),
        (lambda: nn.Sequential(Residual()), "which it lacks"),
        (NotAModule, "must be a network"),
    ],
)
def test_the_wrong_architecture_is_refused(
    file: Path, model: Callable[[], Any], match: str
) -> None:
    """The message says what does not fit."""
    with pytest.raises(InvalidProblemError, match=match):
        load_pruned(file, model)


def test_widths_and_keys_must_fit(file: Path, result: PruneResult) -> None:
    """A pruned network, a wider head, a layer more: each is named."""
    with pytest.raises(InvalidProblemError, match="applied once"):
        load_pruned(file, result.model)
    wider = Residual()
    wider.head = nn.Linear(12, 7)
    with pytest.raises(InvalidProblemError, match=r"size mismatch for head\.weight"):
        load_pruned(file, wider)
    longer = Residual()
    longer.extra = nn.Linear(2, 2)
    with pytest.raises(InvalidProblemError, match=r"Missing key.*extra\.weight"):
        load_pruned(file, longer)


def test_a_missing_tensor_or_entry_is_named(file: Path) -> None:
    """A key lost from the state, a key lost from the file, another format."""
    data = torch.load(file, weights_only=True)
    state = dict(data["state"])
    del state["head.bias"]
    broken: list[tuple[dict[str, Any], str]] = [
        (data | {"state": state}, r"Missing key.*head\.bias"),
        ({"format": data["format"], "plans": data["plans"]}, r"none of \['state'\]"),
        (data | {"format": "other/1"}, "'other/1'"),
        (data | {"plans": ["{"]}, "JSON"),
        (data | {"plans": [1]}, "JSON"),
        (data["state"], "got None"),
    ]
    for content, match in broken:
        torch.save(content, file)
        with pytest.raises(InvalidProblemError, match=match):
            load_pruned(file, Residual)


def test_damage_is_noticed(file: Path) -> None:
    """One flipped bit of a weight, a file cut short, a file of something else."""
    whole = file.read_bytes()
    weight = torch.load(file, weights_only=True)["state"]["head.weight"]
    place = whole.index(weight.numpy().tobytes())
    flipped = bytearray(whole)
    flipped[place + 3] ^= 1
    for content in (bytes(flipped), whole[: len(whole) // 2], b"", b"no archive"):
        file.write_bytes(content)
        with pytest.raises(InvalidProblemError, match="undamaged"):
            load_pruned(file, Residual)
    torch.save(Residual(), file)  # pickled code is not run
    with pytest.raises(InvalidProblemError, match="undamaged"):
        load_pruned(file, Residual)
    with pytest.raises(FileNotFoundError):
        load_pruned(file.with_name("nowhere.pt"), Residual)


def test_what_cannot_be_read_back_is_not_written(
    result: PruneResult, tmp_path: Path
) -> None:
    """No plan, another network, a state that is no tensor: an error, and no file."""
    path = tmp_path / "small.pt"

    class Moody(nn.Linear):
        """A layer with a state of its own kind."""

        def get_extra_state(self) -> dict[str, object]:
            return {"mood": object()}

    with pytest.raises(InvalidProblemError, match="how the network was cut"):
        save_pruned(path, result.model)
    for other in (Residual(), nn.Sequential(result.model), nn.Linear(2, 2)):
        with pytest.raises(InvalidProblemError, match="what the plan has cut"):
            save_pruned(path, other, result.plan)
    odd = prune(result.model, IMAGES, keep=1.0).model
    odd.mood = Moody(2, 2)
    with pytest.raises(InvalidProblemError, match="_extra_state"):
        save_pruned(path, odd, result.plan)
    assert not path.exists()


def test_batch_norms_get_the_statistics_of_what_they_see() -> None:
    """Means of the batches' means and variances, dropout off, all else untouched."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Dropout(0.5),
        nn.BatchNorm2d(3, momentum=0.2),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.Conv2d(3, 2, 1),
    ).train()
    model[3].eval()
    before = fingerprint(model)
    halves = torch.split(IMAGES, 2)
    done = reestimate_batch_norm(model, [(half, "label") for half in halves])
    assert_untouched(model, before)
    norm = done[1]  # type: ignore[index]
    means = torch.stack([half.mean(dim=(0, 2, 3)) for half in halves])
    variances = torch.stack([half.var(dim=(0, 2, 3)) for half in halves])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.momentum == 0.2
    assert [m.training for m in done.modules()] == [m.training for m in model.modules()]
    assert reestimate_batch_norm(model, IMAGES, inplace=True) is model
    with pytest.raises(InvalidProblemError, match="at least one batch"):
        reestimate_batch_norm(model, [])
