"""massv bench collectives: its JSON on two and three ranks, every figure beside its probe, and what is no rank."""
import json

import pytest

from harness import massv

SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20)
BUS = {"all_reduce_sum": lambda n: 2 * (n - 1) / n, "all_gather": lambda n: (n - 1) / n, "broadcast": lambda n: 1}


@pytest.mark.parametrize("ranks,arguments", [(2, ["--hosts", "localhost:2"]), (3, ["--ranks", "3"])])
def test_every_figure_stands_beside_its_probe(ranks, arguments):
    done = massv("bench", "collectives", "--json", *arguments)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer) == ["ranks", "probe", "rows"] and answer["ranks"] == ranks
    probe = answer["probe"]
    assert 0.1 < probe["socket_us"] < 1e5 and 0.01 < probe["socket_gb_per_s"] < 1e3
    assert [(row["call"], row["bytes"]) for row in answer["rows"]] == [
        (call, size - size % (4 * ranks)) for call in BUS for size in SIZES]  # whole floats, as many on each rank
    for row in answer["rows"]:
        assert row["wrong"] == 0
        assert row["alg_gb_per_s"] == pytest.approx(row["bytes"] / row["us"] / 1e3, rel=1e-3)
        assert row["bus_gb_per_s"] == pytest.approx(row["alg_gb_per_s"] * BUS[row["call"]](ranks), rel=1e-3)
        plain = probe["socket_us"] + row["bytes"] * BUS[row["call"]](ranks) / probe["socket_gb_per_s"] / 1e3
        assert row["socket_ratio"] == pytest.approx(row["us"] / plain, rel=1e-3)


@pytest.mark.parametrize("arguments,status,words", [
    (["--ranks", "1"], 2, "--ranks 1: a whole number from 2"), (["two"], 2, "Too many arguments"),
    (["--hosts", "localhost:1"], 1, "massv bench collectives: hosts \"localhost:1\" take 1 ranks, but 2 are wanted"),
    (["--hosts", "nowhere.invalid:2"], 1, "massv bench collectives: ssh: ")])
def test_what_cannot_be_measured_is_said(arguments, status, words):
    done = massv("bench", "collectives", *arguments)
    assert done.returncode == status and done.stdout == "" and words in done.stderr, done.stderr
