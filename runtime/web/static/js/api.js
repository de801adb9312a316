/* Asks the page's server.

api.get(path, params, {signal})   the answer's JSON. A parameter that is an array is repeated; null and "" are left out.
api.put(path, body), api.post(path, body, {timeoutS}), api.patch(path, body), api.delete(path)
                                  a body is sent as JSON; a Blob, such as a file, as it is
api.download(path, name)          saves what an address gives; a plain link would save an error, too, without a word
api.url(path, params)             an address for <audio>, fetch or a download; path as in "clips/a.flac"
ApiError                          {status, detail}: what a request failed with; `detail` is one line for people. Status 0: no
                                  answer at all. A request that was aborted throws the browser's AbortError.
onUnauthorized(handler)           called where a request was answered with 401
live(onEvent, {frames}) -> close  listens without end and connects again by itself. Calls onEvent with {type, data}:
                                    "frame", "device", "message"   as runtime/daemon/live/frames.py and the messages have them
                                    "daemon"    {running}
                                    "state"     "connecting" | "open" | "no-server" | "sent-away" (too many watch; it tries again) */

const FIRST_PAUSE_S = 1;
const LONGEST_PAUSE_S = 15;
const SENT_AWAY_PAUSE_S = 30;
const SILENCE_S = 12;
const TIMEOUT_S = 15;
const NO_ANSWER = "The page's server does not answer.";

let unauthorized = () => {};

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.detail = detail;
  }
}

export function onUnauthorized(handler) {
  unauthorized = handler;
}

export const api = {
  url(path, params = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params))
      for (const item of Array.isArray(value) ? value : [value])
        if (item !== null && item !== undefined && item !== "") query.append(name, item);
    const text = query.toString();
    return `api/${path.split("/").map(encodeURIComponent).join("/")}${text && "?"}${text}`;
  },
  get: (path, params, options = {}) => request("GET", api.url(path, params), undefined, options),
  put: (path, body, options = {}) => request("PUT", api.url(path), body, options),
  post: (path, body = {}, options = {}) => request("POST", api.url(path, options.params), body, options),
  patch: (path, body) => request("PATCH", api.url(path), body),
  delete: (path) => request("DELETE", api.url(path)),

  async download(path, name) {
    const answer = await fetch(api.url(path), { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) throw new ApiError(answer?.status ?? 0, (await answer?.json().catch(() => null))?.detail ?? NO_ANSWER);
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await answer.blob()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
  },
};

async function request(method, url, body, { signal, timeoutS = TIMEOUT_S } = {}) {
  const type = body instanceof Blob ? body.type || "application/octet-stream" : "application/json";
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), timeoutS * 1000);
  const stop = () => limit.abort();
  signal?.addEventListener("abort", stop);
  try {
    const answer = await fetch(url, {
      method,
      headers: body === undefined ? {} : { "Content-Type": type },
      body: body === undefined || body instanceof Blob ? body : JSON.stringify(body),
      signal: limit.signal,
      credentials: "same-origin",
      cache: "no-store",
    });
    const text = await answer.text();
    const content = text && answer.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
    if (answer.ok) return content;
    if (answer.status === 401 && !url.startsWith("api/login")) unauthorized();
    throw new ApiError(answer.status, content?.detail ?? `The page's server answered ${answer.status}.`);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (signal?.aborted) throw new DOMException("Aborted", "AbortError");
    throw new ApiError(0, NO_ANSWER);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

export function live(onEvent, { frames = true } = {}) {
  let stream = null;
  let timer = 0;
  let pauseS = FIRST_PAUSE_S;
  let heardAt = performance.now();
  let closed = false;

  const emit = (type, data) => closed || onEvent({ type, data });

  const again = (seconds) => {
    stream?.close();
    stream = null;
    clearTimeout(timer);
    timer = setTimeout(connect, seconds * 1000);
  };

  // An EventSource does not say why it failed, so the server is asked whether it is there, and whether it still knows us.
  const failed = async () => {
    stream?.close();
    stream = null;
    try {
      const session = await api.get("session", {}, { timeoutS: 5 });
      if (closed) return;
      if (!session.logged_in) return unauthorized();
      emit("state", "connecting");
    } catch {
      emit("state", "no-server");
    }
    if (closed) return;
    again(pauseS);
    pauseS = Math.min(pauseS * 2, LONGEST_PAUSE_S);
  };

  function connect() {
    if (closed) return;
    heardAt = performance.now();
    stream = new EventSource(api.url("live", { frames: frames ? null : "false" }));
    stream.onopen = () => {
      heardAt = performance.now();
      emit("state", "open");
    };
    stream.onerror = failed;
    for (const type of ["frame", "device", "message", "daemon"])
      stream.addEventListener(type, (event) => {
        heardAt = performance.now();
        pauseS = FIRST_PAUSE_S;
        emit(type, JSON.parse(event.data));
      });
    stream.addEventListener("bye", () => {
      emit("state", "sent-away");
      again(SENT_AWAY_PAUSE_S);
    });
  }

  // A connection that was cut without a word, as by a lost network, gives no error: where nothing comes, ask.
  const watch = setInterval(async () => {
    if (!stream || performance.now() - heardAt < SILENCE_S * 1000) return;
    heardAt = performance.now();
    const asked = stream;
    try {
      await api.get("session", {}, { timeoutS: 5 });
    } catch {
      if (stream === asked) failed();
    }
  }, 2000);

  emit("state", "connecting");
  connect();
  return () => {
    closed = true;
    clearInterval(watch);
    clearTimeout(timer);
    stream?.close();
  };
}
