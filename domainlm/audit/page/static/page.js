"use strict";
// What works only with a script: signing with a key file that never leaves the browser (WebCrypto, ed25519), and a
// status line that stays true. Everything else of the page works without this file.

const bytes = (text) => new TextEncoder().encode(text);
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const unbase64 = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

class KeyProblem extends Error {} // its message is the name of the sentence to show

// DSSE v1.0.2: what is signed of a payload and its type
function preAuthenticationEncoding(type, payload) {
  const head = bytes(`DSSEv1 ${bytes(type).length} ${type} ${payload.length} `);
  const all = new Uint8Array(head.length + payload.length);
  all.set(head);
  all.set(payload, head.length);
  return all;
}

// {key, public}: of an unsealed PKCS #8 PEM file
async function readKey(file) {
  if (!globalThis.crypto?.subtle) throw new KeyProblem("unknown");
  const text = file.size < 10000 ? await file.text() : "";
  if (text.includes("ENCRYPTED PRIVATE KEY")) throw new KeyProblem("sealed");
  const match = /^-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----\s*$/.exec(text);
  if (!match) throw new KeyProblem("wrong");
  try {
    const der = unbase64(match[1].replace(/\s/g, ""));
    const key = await crypto.subtle.importKey("pkcs8", der, { name: "Ed25519" }, true, ["sign"]);
    const { x } = await crypto.subtle.exportKey("jwk", key);
    return { key, public: hex(unbase64(x)) };
  } catch (error) {
    throw new KeyProblem(error.name === "NotSupportedError" ? "unknown" : "wrong");
  }
}

const sign = async (key, type, payload) =>
  hex(await crypto.subtle.sign({ name: "Ed25519" }, key, preAuthenticationEncoding(type, payload)));

// securesystemslib's key id: SHA-256 of the key's canonical JSON
const keyId = async (publicHex) =>
  hex(await crypto.subtle.digest("SHA-256", bytes(`{"keytype":"ed25519","keyval":{"public":"${publicHex}"},"scheme":"ed25519"}`)));

function withKey(form, act) {
  const problem = form.querySelector("#key-problem");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await act(await readKey(form.querySelector("input[type=file]").files[0]));
    } catch (error) {
      problem.textContent = problem.dataset[error instanceof KeyProblem ? error.message : "wrong"];
      problem.hidden = false;
      button.disabled = false;
    }
  });
}

const way = document.getElementById("browser-way");
if (way) way.hidden = false;

const signIn = document.getElementById("key-form");
if (signIn) {
  withKey(signIn, async (found) => {
    if (signIn.dataset.page !== location.origin) throw new KeyProblem("page");
    const signature = await sign(found.key, signIn.dataset.type, bytes(signIn.dataset.payload));
    const token = document.getElementById("token-form");
    token.elements.token.value = `${found.public}.${signature}`;
    token.submit();
  });
}

const signing = document.getElementById("sign-form");
if (signing) {
  withKey(signing, async (found) => {
    if ((await keyId(found.public)) !== signing.dataset.keyid) throw new KeyProblem("other");
    signing.elements.signature.value = await sign(found.key, signing.dataset.type, unbase64(signing.dataset.payload));
    signing.submit();
  });
}

const status = document.getElementById("status");
if (status) {
  const text = document.getElementById("status-text");
  const detail = document.getElementById("status-detail");
  const show = (found) => {
    if (text.textContent !== found.text) text.textContent = found.text;
    text.className = `badge ${found.verdict}`;
    if (detail.textContent !== found.detail) detail.textContent = found.detail;
    // the page about the verification shows the findings of the time it was made
    if (location.pathname === "/verification" && found.at && found.at !== status.dataset.at && !found.running) location.reload();
  };
  // an old verdict must not pass for a new one
  const unknown = (reason) => {
    text.className = "badge never";
    detail.textContent = status.dataset[reason];
  };
  const ask = async () => {
    try {
      const answer = await fetch("/verification/status", { headers: { accept: "application/json" } });
      if (answer.ok) show(await answer.json());
      else unknown(answer.status === 401 ? "signedOut" : "away");
    } catch {
      unknown("away");
    }
  };
  setInterval(ask, location.pathname === "/verification" ? 2000 : 15000);
}
