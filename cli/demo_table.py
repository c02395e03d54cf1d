"""demo_table.py TIMES NAME=FILE... - what drafting gave: a line for each file of `massv generate --json` answers to the same questions,
which were asked TIMES times over; of each question's times the shortest counts.

Pooled over the questions: mean acceptance length = 1 + accepted / steps; accepted at position i = steps that accepted more than i of
their drafts / steps; tokens/s = tokens after the first / time after the first. The first file is the one the others must agree with;
exits with 1 where a token differs."""
import json
import sys

TITLES = {"none": "no drafter", "text": "scenes-drafter (text-only)", "massv": "scenes-massv (MASSV)"}


def row(answers, times):
    count = len(answers) // times
    seconds = sum(min(a["timing_ms"]["decode"] for a in answers[i::count]) for i in range(count)) / 1e3
    answers = answers[:count]
    speculation = [a["speculation"] for a in answers]
    tokens = sum(a["usage"]["completion_tokens"] for a in answers)
    steps = sum(s["steps"] for s in speculation)
    accepted = sum(s["accepted"] for s in speculation)
    drafted = any(s["drafted"] for s in speculation)
    positions = [sum(at) for at in zip(*(s["accepted_per_position"] for s in speculation))] if drafted else []
    return dict(tokens=tokens, steps=steps, length=1 + accepted / max(steps, 1), positions=[p / max(steps, 1) for p in positions],
                speed=(tokens - len(answers)) / max(seconds, 1e-9))


def main():
    names, files = zip(*(argument.split("=", 1) for argument in sys.argv[2:]))
    answers = [[json.loads(line) for line in open(file, encoding="utf-8")] for file in files]
    ids = [[a["token_ids"] for a in column] for column in answers]
    rows = [row(column, int(sys.argv[1])) for column in answers]
    print(f"\n{'drafter':27}{'tokens':>7}{'steps':>7}{'mean acc.':>11}   {'accepted at draft 1..k':24}{'tokens/s':>10}")
    print(f"{'':27}{'':>7}{'':>7}{'length':>11}")
    for name, r in zip(names, rows):
        at = " ".join(f"{p:3.0%}" for p in r["positions"]) or "-"
        print(f"{TITLES.get(name, name):27}{r['tokens']:7}{r['steps']:7}{r['length']:11.2f}   {at:24}{r['speed']:10.0f}")
    same = all(column == ids[0] for column in ids)
    print(f"\nidentical text: {'yes' if same else 'NO'}")
    return 0 if same and ids[0] else 1


if __name__ == "__main__":
    sys.exit(main())
