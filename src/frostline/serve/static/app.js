// Actions: images are added, sent to the server one by one (it batches them), and their answers are shown.

import { setUpCamera } from "./camera.js";
import { onlyImages, readEntries, takeEntries } from "./files.js";
import {
  asCsv, printable, showAbout, showAnswer, showErrors, showExamples, showExplanation, showProgress, showTable, sorted,
} from "./show.js";

const $ = (id) => document.getElementById(id);
const CONCURRENT = 4;
const TRIES = 6;
const KEY = "frostline-key";
const REJECT = 0.05; // unless the server has a default

let model = null;
let items = []; // with an answer or an error
let waiting = []; // to be sent
let unsent = []; // kept for another try after the server did not answer
let running = 0, done = 0, total = 0;
let round = 0; // of images; answers to those of an earlier round, which were cleared, are dropped
let current = null; // the image whose answer is shown
let follow = true; // show the newest answer, until an image is selected
let reject = null; // share of the validation images below whose confidence an answer is "not sure"
let errors = [];
let order = { by: null, descending: false };

class RequestError extends Error {}
class Unavailable extends Error {} // not reachable, or busy for long: worth another try

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const size = (bytes) => `${(bytes / 1048576).toFixed(1)} MiB`;

async function ask(path, options = {}) {
  for (let tries = 1; ; tries++) {
    const key = sessionStorage.getItem(KEY);
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    let response;
    try {
      response = await fetch(path, { ...options, headers });
      if (response.ok) return await response.json();
    } catch {
      throw new Unavailable("The server does not answer. Is it still running?");
    }
    if (response.status === 401) {
      await askForKey(key);
      continue;
    }
    if (response.status === 503 && tries < TRIES) {
      await pause(Number(response.headers.get("Retry-After") || 1) * tries);
      continue;
    }
    const problem = await response.json().catch(() => ({}));
    if (response.status === 503) throw new Unavailable(problem.detail);
    throw new RequestError(problem.errors?.[0]?.detail ?? `Server error: ${problem.detail ?? response.status}`);
  }
}

let asking = null;
function askForKey(refused) {
  if (refused && sessionStorage.getItem(KEY) !== refused) return Promise.resolve(); // another request has asked
  asking ??= new Promise((resolve) => {
    $("ask-why").textContent = refused ? "This key is not valid. Try again." : "It is stored until this tab is closed.";
    $("ask").showModal();
    $("ask").querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      const given = $("key").value.trim();
      if (!/^[\x21-\x7e]+$/.test(given)) {
        $("ask-why").textContent = "A key consists of letters, digits and symbols, without spaces.";
        return;
      }
      sessionStorage.setItem(KEY, given);
      $("key").value = "";
      $("ask").close();
      asking = null;
      resolve();
    };
  });
  return asking;
}
$("ask").addEventListener("cancel", (event) => event.preventDefault());

async function begin() {
  try {
    model = await ask("/v1/model");
  } catch (error) {
    report(error.message);
    return false;
  }
  reject = model.reject ?? (model.rejects ? REJECT : null);
  showAbout(model, reject);
  $("model").textContent = `${printable(model.name)} · ${model.classes.length} classes`;
  document.title = `${printable(model.name)} · Frostline`;
  $("files").accept = model.formats.map((name) => `image/${name.toLowerCase()}`).join();
  $("takes").textContent = `${new Intl.ListFormat("en", { type: "disjunction" }).format(model.formats)}, up to ${Math.floor(model.limits.body_bytes / 1048576)} MiB each`;
  return true;
}

function report(text) {
  if (!errors.includes(text)) errors.push(text);
  refresh();
}

function refresh() {
  document.body.classList.toggle("begun", total > 0);
  showProgress(done, items.filter((item) => item.error).length, total);
  showErrors(errors, unsent.length > 0);
  showTable(items, order, current, select);
}

async function add(files) {
  if (!files.length || (!model && !(await begin()))) return;
  follow = true;
  const most = model.limits.body_bytes - 4096; // for the form's own bytes
  for (const file of files) {
    const item = { file, name: file.name || `pasted ${total + 1}.png`, number: total, round };
    total += 1;
    if (file.size > most) finish(item, { error: `too large: ${size(file.size)}, at most ${size(model.limits.body_bytes)} are allowed` });
    else if (file.size === 0) finish(item, { error: "empty" });
    else waiting.push(item);
  }
  refresh();
  work();
}

function work() {
  while (running < CONCURRENT && waiting.length) {
    running += 1;
    classify(waiting.shift()).finally(() => {
      running -= 1;
      refresh();
      work();
      if (!running) explain(current);
    });
  }
}

function send(item, query) {
  const form = new FormData();
  form.append("images", item.file, item.name);
  return ask(`/v1/predict?${query}`, { method: "POST", body: form });
}

const query = (options) => (reject === null ? options : `${options}&reject=${reject}`);

async function classify(item) {
  try {
    const { predictions, rejected, error } = (await send(item, query("top=5"))).results[0];
    finish(item, error ? { error: reason(item, error.detail) } : { predictions, rejected });
  } catch (error) {
    if (item.round !== round) return;
    if (error instanceof Unavailable) {
      unsent.push(item);
      report(`${error.message} Your images are not lost.`);
    } else {
      finish(item, { error: reason(item, error.message) });
    }
  }
}

// A problem's detail begins with the file name, which has a column of its own.
const reason = (item, detail) => (detail.startsWith(`${item.name} `) ? detail.slice(item.name.length + 1) : detail).replace(/\.$/, "");

function finish(item, result) {
  if (item.round !== round) return;
  Object.assign(item, result);
  done += 1;
  items.push(item);
  items.sort((a, b) => a.number - b.number);
  if (item.error) return;
  item.address = URL.createObjectURL(item.file);
  // A late answer to an earlier image does not replace a newer one.
  if (!current || (follow && item.number > current.number)) show(item);
}

function show(item) {
  current = item;
  $("image").classList.remove("overlaid");
  $("toggle-overlay").setAttribute("aria-pressed", "false");
  showAnswer(item, reject, model);
  refresh();
}

function select(item) {
  follow = false;
  show(item);
  explain(item);
}

async function explain(item) {
  if (!item || item !== current || item.explanation || !(model.explains || model.neighbors)) return;
  item.explanation = {};
  try {
    item.explanation = (await send(item, `top=1&explain=${model.explains}&neighbors=${model.neighbors ? 6 : 0}`)).results[0];
  } catch {
    item.explanation = null; // optional; requested again when the image is selected again
  }
  if (current === item && item.explanation) showExplanation(item);
}

// Choosing, dropping, pasting

$("choose").onclick = () => $("files").click();
$("files").onchange = () => {
  add([...$("files").files]);
  $("files").value = "";
};
$("choose-folder").onclick = () => $("folder").click();
$("folder").onchange = () => {
  addFolder([...$("folder").files]);
  $("folder").value = "";
};
async function addFolder(files) {
  if (!model && !(await begin())) return;
  const images = onlyImages(files, model.formats);
  if (images.length) await add(images);
  else report("The folder has no images of a known format.");
}
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const entries = takeEntries(event.dataTransfer);
  if (!model && !(await begin())) return;
  try {
    const files = await readEntries(entries, model.formats);
    if (files.length) await add(files);
    else report("What was dropped has no images of a known format.");
  } catch {
    report("What was dropped could not be read. Choose the files or the folder instead.");
  }
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) add(files);
});

setUpCamera({
  add: (blob) => add([new File([blob], `camera ${total + 1}.png`, { type: "image/png" })]),
  classify: async (file) => model && (await send({ file, name: file.name }, query("top=1"))).results[0],
  report,
});

// Results

$("toggle-overlay").onclick = () => {
  const shown = $("image").classList.toggle("overlaid");
  $("toggle-overlay").setAttribute("aria-pressed", String(shown));
};
for (const button of document.querySelectorAll("th button")) {
  button.onclick = () => {
    const by = button.dataset.sort;
    order = { by, descending: order.by === by ? !order.descending : by === "probability" };
    refresh();
  };
}
$("csv").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asCsv(sorted(items, order), reject !== null)], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
$("clear").onclick = () => {
  items.forEach((item) => item.address && URL.revokeObjectURL(item.address));
  [items, waiting, unsent, errors] = [[], [], [], []];
  [done, total] = [0, 0];
  round += 1;
  show(null);
  $("choose").focus();
};
$("dismiss").onclick = () => {
  errors = [];
  total -= unsent.length;
  unsent = [];
  refresh();
};
$("retry").onclick = async () => {
  errors = [];
  waiting.push(...unsent);
  unsent = [];
  refresh();
  work();
};

let examples = null;
$("about").addEventListener("toggle", async () => {
  if (!$("about").open || examples) return;
  try {
    ({ examples } = await ask("/v1/examples"));
    showExamples(model, examples);
  } catch (error) {
    report(error.message);
  }
});

begin();
