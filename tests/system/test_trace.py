"""W3C Trace Context through a stock gRPC client: the caller's trace is joined, told back and logged; what is malformed begins a new one."""
import json
import re
import time

import pytest

from harness import GOLDEN, service

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{ID}-{SPAN}-01"


@pytest.fixture(scope="module")
def client():
    with service(GOLDEN / "qwen25vl-tiny", "--log-format", "json", "--log-level", "debug") as running:
        yield running


def lines(client, count, **wanted):
    until = time.monotonic() + 20
    while True:
        found = [line for line in map(json.loads, client.up.stderr().splitlines()) if all(line.get(k) == v for k, v in wanted.items())]
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.02)


def ask(client, name, *metadata):
    """The ids of the traceparent that came back."""
    call = client.inference.Generate(client.request("x", max_tokens=2, ignore_eos=True, request_id=name), metadata=metadata, timeout=60)
    assert list(call)
    told = [value for key, value in call.initial_metadata() if key == "traceparent"]
    assert len(told) == 1 and re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", told[0])
    return told[0].split("-")[1:]


def test_a_trace_goes_on(client):
    trace, span, flags = ask(client, "joined", ("traceparent", PARENT))
    assert trace == ID and span != SPAN and flags == "01"
    [line] = lines(client, 1, request_id="joined")
    assert (line["trace_id"], line["span_id"]) == (trace, span)


def test_without_one_a_trace_begins(client):
    trace, span, flags = ask(client, "new")
    assert trace != ID and flags == "00"
    [line] = lines(client, 1, request_id="new")
    assert (line["trace_id"], line["span_id"]) == (trace, span)


@pytest.mark.parametrize("name, values", [("short", ["00-12"]), ("upper", [PARENT.upper()]), ("long", ["cc" + PARENT[2:] + "-" + "x" * 1000]),
                                          ("twice", [PARENT, PARENT])])
def test_a_malformed_one_is_as_none(client, name, values):
    trace, _, _ = ask(client, name, *(("traceparent", value) for value in values))
    assert trace != ID
    [line] = lines(client, 1, message="a traceparent that is none was ignored", trace_id=trace)
    assert line["level"] == "debug"


def test_a_refusal_is_in_the_trace(client):
    request = client.request("x", model="another", request_id="refused")
    with pytest.raises(Exception):
        list(client.inference.Generate(request, metadata=[("traceparent", PARENT)], timeout=60))
    [line] = lines(client, 1, request_id="refused")
    assert line["trace_id"] == ID
