"""figures.py - looking things up in what massv eval said."""


def find(said, drafter, draft_tokens, task="all"):
    """The figures of one drafter at one draft length, or None."""
    for f in said["figures"]:
        if (f["drafter"], f["draft_tokens"], f["task"]) == (drafter, draft_tokens, task):
            return f
    return None


def length(said, drafter, draft_tokens, task="all"):
    """Mean acceptance length, bonus token included, or None."""
    f = find(said, drafter, draft_tokens, task)
    return f and f["mean_acceptance_length"]["value"]


def distance(said, drafter, task="all"):
    """Mean total variation distance, or None."""
    for t in said["tvd"] or []:
        if (t["drafter"], t["task"]) == (drafter, task):
            return t["mean"]["value"]
    return None


def tasks(said):
    """All of them, and what they are together."""
    names = []
    for f in said["figures"]:
        if f["task"] not in names:
            names.append(f["task"])
    return names


def drafters(said):
    names = []
    for f in said["figures"]:
        if f["drafter"] != "off" and f["drafter"] not in names:
            names.append(f["drafter"])
    return names


def lengths_drafted(said):
    return sorted({f["draft_tokens"] for f in said["figures"] if f["draft_tokens"]})


def interval(i, digits=2):
    return f"{i['value']:.{digits}f} [{i['low']:.{digits}f}, {i['high']:.{digits}f}]"
