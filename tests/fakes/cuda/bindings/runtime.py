"""cuda.bindings.runtime without a GPU: its functions for graphs."""

from fake_gpu import GPU, LOG, enum, faults, read_api

if "bindings" in faults():
    raise ImportError("libcudart.so.13: cannot open shared object file")
api = read_api("cuda-bindings-13.5.0")
cudaStreamCaptureMode = enum(api, "cudaStreamCaptureMode")
cudaError_t = enum(api, "cudaError_t")
OK = cudaError_t.cudaSuccess
assert OK.value >= 0


class _Status:
    """Like the real ones, whose success is 0."""

    def __init__(self, error):
        self.name = error.name
        self._code = 0 if error is OK else 1 + error.value

    def __int__(self):
        return self._code


def cudaStreamBeginCapture(stream, mode):
    assert mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    GPU.need_context()
    GPU.streams[stream].run()
    GPU.streams[stream].recorded = []
    LOG.append("record")
    return (_Status(OK),)


def cudaStreamEndCapture(stream):
    work, GPU.streams[stream].recorded = GPU.streams[stream].recorded, None
    if "record" in faults():
        return _Status(cudaError_t.cudaErrorStreamCaptureInvalidated), None
    return _Status(OK), work


def cudaGraphInstantiate(graph, flags):
    return _Status(OK), list(graph)


def cudaGraphDestroy(graph):
    return (_Status(OK),)


def cudaGraphLaunch(graph, stream):
    GPU.need_context()
    LOG.append("launch")
    for work in graph:
        GPU.streams[stream].add(work)
    return (_Status(OK),)


def cudaGraphExecDestroy(graph):
    GPU.need_context()
    LOG.append("destroy graph")
    return (_Status(OK),)


assert {x for x in globals() if x.startswith("cuda")} <= {*api[""]}
