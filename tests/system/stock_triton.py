"""stock_triton.py ADDRESS PICTURE BIAS - tritonclient against a service that has a model: says in one JSON object what it got."""
import json
import os
import queue
import sys

import numpy
import tritonclient.grpc as triton

address, picture, bias = sys.argv[1:]
client = triton.InferenceServerClient(address)
got = {"live": client.is_server_live(), "ready": client.is_server_ready(), "server": client.get_server_metadata(as_json=True)}
QUESTION = "What can you see in this picture?"
MODEL = "scenes-large"
GREEDY = {"max_tokens": 40, "temperature": 0.0, "repetition_penalty": 1.0}


def tensor(name, *values, kind="BYTES"):
    types = {"BYTES": object, "INT32": numpy.int32, "BOOL": bool, "FP32": numpy.float32}
    out = triton.InferInput(name, [len(values)], kind)
    out.set_data_from_numpy(numpy.array(values, dtype=types[kind]))
    return out


def question(*more):
    return [tensor("text_input", QUESTION.encode()), tensor("image", open(picture, "rb").read()), *more]


def said(result):
    return result.as_numpy("text_output")[0].decode()


def parameters(result):
    return {name: getattr(p, p.WhichOneof("parameter_choice")) for name, p in result.get_response().parameters.items()}


def refusal(call, *arguments, **how):
    try:
        call(*arguments, **how)
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]


got["model_ready"] = client.is_model_ready(MODEL)
got["model"] = client.get_model_metadata(MODEL, as_json=True)
got["stranger"] = refusal(client.get_model_metadata, "llama")

result = client.infer(MODEL, question(), request_id="one", outputs=[triton.InferRequestedOutput("text_output")],
                      parameters={"draft_tokens": 0, **GREEDY})
got["infer"] = [result.get_response().id, said(result), parameters(result)]
result = client.infer(MODEL, question(tensor("sampling_parameters", json.dumps({**GREEDY, "max_tokens": "40"}).encode())))
got["infer_sampling_parameters"] = said(result)
result = client.infer(MODEL, question(tensor("max_tokens", 40, kind="INT32"), tensor("temperature", 0.0, kind="FP32"),
                                      tensor("repetition_penalty", 1.0, kind="FP32")))
got["infer_tensors"] = said(result)
result = client.infer(MODEL, question(tensor("stop", b" other", b" on")), parameters=GREEDY)
got["infer_stopped"] = said(result)
got["bad"] = [refusal(client.infer, MODEL, [tensor("image", b"x")]), refusal(client.infer, MODEL, question(), parameters={"max_tokens": 0}),
              refusal(client.infer, MODEL, question(tensor("colour", 1, kind="INT32"))), refusal(client.infer, "llama", question()),
              refusal(client.infer, MODEL, [tensor("text_input", b"x"), tensor("image", b"no picture")])]


def tokens(result, *more):
    return {name: result.as_numpy(name).tolist() for name in ("token_ids", "logprobs", "top_token_ids", "top_logprobs", *more)}


result = client.infer(MODEL, question(), parameters={"logprobs": 3, **GREEDY})
got["infer_logprobs"] = [said(result), tokens(result)]
result = client.infer(MODEL, question(), outputs=[triton.InferRequestedOutput("token_ids")], parameters=GREEDY)
got["infer_ids"] = [result.as_numpy("token_ids").tolist(), result.as_numpy("text_output") is None]
result = client.infer(MODEL, question(), parameters={"logit_bias": bias, "auto_draft_tokens": True, **GREEDY})
got["infer_bias"] = said(result)
SAMPLED = {"max_tokens": 20, "temperature": 1.0, "seed": 5, "n": 3}
result = client.infer(MODEL, question(), parameters={"logprobs": 1, **SAMPLED},
                      headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
got["infer_n"] = {"texts": [text.decode() for text in result.as_numpy("text_output")],
                  "reasons": [text.decode() for text in result.as_numpy("finish_reason")],
                  **tokens(result, "completion_tokens", "seed"), "figures": parameters(result)}

# Three requests on one stream: deltas, a whole answer, a fault.
answers = queue.Queue()
client.start_stream(callback=lambda result, error: answers.put((result, error)))
client.async_stream_infer(MODEL, question(tensor("stream", True, kind="BOOL")), request_id="deltas", parameters={**GREEDY, "draft_tokens": 5},
                          enable_empty_final_response=True)
client.async_stream_infer(MODEL, question(), request_id="whole", parameters=GREEDY)
client.async_stream_infer(MODEL, [tensor("text_input", b"x")], request_id="fault", parameters={"draft_tokens": 17})
streamed, left = {"deltas": [], "whole": []}, {"deltas", "whole", "fault"}
while left:
    result, error = answers.get(timeout=60)
    if error:
        got["stream_fault"] = error.message()
        left.remove("fault")
        continue
    name = result.get_response().id
    streamed[name].append(said(result))
    if parameters(result)["triton_final_response"]:
        left.remove(name)
        got[f"{name}_end"] = parameters(result)

# Three outputs as deltas; an answer whose last delta has text.
client.async_stream_infer(MODEL, question(tensor("stream", True, kind="BOOL")), request_id="n",
                          parameters={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "logprobs": 1, **SAMPLED})
full = json.dumps({"triton_enable_empty_final_response": False, "stream": True, **GREEDY}).encode()
client.async_stream_infer(MODEL, question(tensor("sampling_parameters", full)), request_id="full")
got["streamed_n"], got["streamed_full"], left = [[], [], []], [], {"n", "full"}
while left:
    result, error = answers.get(timeout=60)
    assert not error, error
    name, figures = result.get_response().id, parameters(result)
    if name == "n":
        got["streamed_n"][figures["output_index"]].append([said(result), figures.get("finish_reason"), tokens(result)])
    else:
        got["streamed_full"].append(said(result))
    if figures["triton_final_response"]:
        left.remove(name)
client.stop_stream()
got["streamed"] = streamed
print(json.dumps(got), flush=True)
os._exit(0)  # the client's threads now and then never let the interpreter end
