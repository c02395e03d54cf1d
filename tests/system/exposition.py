"""exposition.py - a strict reader of Prometheus' text format 0.0.4."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found, f"no label at {text[at:]!r}"
        assert found[1] not in labels, f"label {found[1]} twice"
        labels[found[1]] = re.sub(r'\\[\\"n]', lambda m: ESCAPES[m[0]], found[2])
        assert found[3] == "" or found.end() < len(text), "a comma at the end"
        at = found.end()
    return labels


class Page:
    def __init__(self, text):
        assert text.endswith("\n") and "\r" not in text
        self.types, self.samples, self.help = {}, {}, {}
        family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, name, words = line.split(" ", 3)
                assert words and re.fullmatch(NAME, name) and name not in self.help
                self.help[name] = words
            elif line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                assert family in self.help and family not in self.types, line
                assert kind in ("counter", "gauge", "histogram")
                assert (kind == "counter") == family.endswith("_total"), line
                self.types[family] = kind
            else:
                self._sample(line, family)
        assert set(self.types) == set(self.help)
        self._check_histograms()

    def _sample(self, line, family):
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found[1], labels_of(found[2] or ""), float(found[3])
        suffixes = ("_bucket", "_sum", "_count") if self.types[family] == "histogram" else ("",)
        assert name in [family + s for s in suffixes], f"{name} stands under {family}"
        assert self.types[family] == "gauge" or value >= 0, line
        key = name, frozenset(labels.items())
        assert key not in self.samples, f"{line} twice"
        self.samples[key] = value

    def _check_histograms(self):
        buckets = {}
        for (name, labels), value in self.samples.items():
            if name.endswith("_bucket") and self.types.get(name[:-7]) == "histogram":
                rest = dict(labels)
                buckets.setdefault((name[:-7], frozenset((rest.pop("le"), rest)[1].items())), []).append((float(dict(labels)["le"]), value))
        for (name, labels), series in buckets.items():
            assert [b for b, _ in series] == sorted({b for b, _ in series}) and series[-1][0] == float("inf"), name
            assert [v for _, v in series] == sorted(v for _, v in series), name
            assert self.samples[name + "_count", labels] == series[-1][1] and (name + "_sum", labels) in self.samples

    def __call__(self, name, **labels):
        return self.samples["massv_" + name, frozenset((k, str(v)) for k, v in labels.items())]

    def labelled(self, name):
        """Labels and value of every sample of a metric."""
        return [(dict(labels), value) for (full, labels), value in self.samples.items() if full == "massv_" + name]
