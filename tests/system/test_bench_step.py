"""massv bench step: its JSON, on one rank, on several, and for one rank's shard alone."""
import json

import pytest

from harness import massv

WEIGHTS = 2 * (8 * (256 * 512 + 256 * 256 + 3 * 256 * 704) + 704 * 256)  # bytes of scenes-large: layers and head, bf16


def bench(*arguments):
    done = massv("bench", "step", "--shape", "scenes-large", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("arguments, ranks", [([], 1), (["--ranks", "2"], 2), (["--ranks-of", "2"], 2)],
                         ids=["one rank", "two ranks", "a shard of two"])
def test_every_figure_stands_beside_its_probe(arguments, ranks):
    answer, notes = bench("--threads", "1", *arguments)
    assert list(answer) == ["shape", "weights", "threads", "ranks", "probe", "rows"]
    assert (answer["shape"], answer["weights"], answer["threads"], answer["ranks"]) == ("scenes-large", "bf16", 1, ranks)
    assert [row["n"] for row in answer["rows"]] == [1, 2, 4, 6, 8, 512]
    probe = answer["probe"]
    for row in answer["rows"]:
        seconds = row["ms"] / 1e3
        assert row["weight_gb_per_s"] * 1e9 * seconds == pytest.approx(WEIGHTS / ranks, rel=0.1)  # slices are not all alike
        # Two operations per weight and row; of a prompt only the last row meets the head.
        if row["n"] < 512:
            assert row["gflop_per_s"] / row["weight_gb_per_s"] == pytest.approx(row["n"], rel=1e-3)
        bound = max(row["weight_gb_per_s"] / probe["read_gb_per_s"], row["gflop_per_s"] / probe["gflop_per_s"])
        assert row["roofline_ratio"] == pytest.approx(1 / bound, rel=1e-3)
    if "--ranks" not in arguments:  # mpirun's stderr is shown only where a rank fails
        assert "8 of 8 layers" in notes
        assert ("sums over ranks are not included" in notes) == ("--ranks-of" in arguments)


def test_impossible_cuts_are_refused():
    for flag in "--ranks", "--ranks-of":
        done = massv("bench", "step", "--shape", "scenes-large", flag, "3")
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr == "massv bench step: scenes-large: 3 ranks do not divide its 8 query heads\n"


@pytest.mark.parametrize("arguments", [[], ["--shape", "gpt"], ["--shape", "scenes-large", "--layers", "9"],
                                       ["--shape", "scenes-large", "--weights", "q4"], ["--shape", "scenes-large", "--activations", "f16"],
                                       ["--shape", "scenes-large", "--ranks", "2", "--ranks-of", "2"]], ids=" ".join)
def test_wrong_usage_ends_with_2(arguments):
    done = massv("bench", "step", *arguments)
    assert done.returncode == 2 and done.stdout == "" and "--help" in done.stderr
