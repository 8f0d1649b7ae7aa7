/** The server's API. */

const KEY = "specdec.key";

/** A request that the server did not answer, or not to its end. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The API key: kept for as long as the tab is open. */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function setApiKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // Without storage, the key's field keeps it until the page is left.
  }
}

async function request(path, key, options = {}) {
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw new ServerError(await message(response), response.status);
  return response;
}

async function message(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text || response.statusText;
  }
}

/** The description of the served model. */
export async function servedModel(key) {
  return (await (await request("v1/models", key)).json()).data[0];
}

/** The JSON objects of a stream of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ServerError("The connection ended before the answer did.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const data = line.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

/** Asks for an answer; yields it in parts, as they arrive. */
export async function* chat(fields, key, signal) {
  const body = JSON.stringify({ ...fields, stream: true, return_tokens: true, logprobs: true });
  const response = await request("v1/chat/completions", key, { method: "POST", body, signal });
  try {
    for await (const event of events(response.body)) {
      if (event.error) throw new ServerError(event.error.message);
      if (event.choices[0]) yield event.choices[0];
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ServerError) throw error;
    throw new ServerError("The connection to the server was lost.");
  }
}
