// Requests to the server, and what it says when it refuses.

/** Sends a request; gives the answer's JSON, or throws an error with the server's sentence. */
export async function call(path, { method = 'GET', body } = {}) {
  const options = { method };
  if (body !== undefined) {
    options.headers = { 'Content-Type': 'application/json' };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  const text = await response.text();
  let answer = null;
  try { answer = text ? JSON.parse(text) : null; } catch { /* not JSON: the status says enough */ }
  if (!response.ok) throw new Error(answer?.error ?? `${response.status} ${response.statusText}`);
  return answer;
}

export const post = (path, body) => call(path, { method: 'POST', body });

/** Address of a stored sample's picture. */
export const thumbnail = sample => `/api/v1/samples/${sample}/thumbnail`;
